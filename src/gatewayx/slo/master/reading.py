"""One consistent look at one cluster over one range: what every query works on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from gatewayx.slo.master.figures import TargetType
from gatewayx.slo.master.names import ClusterNames, Names
from gatewayx.slo.master.plan import Plan, TimeRange, plan_range
from gatewayx.slo.master.reader import FiguresReader
from gatewayx.slo.master.settings import Clock, MasterSettings
from gatewayx.slo.master.store import Store
from gatewayx.slo.master.targets import TargetBook, load_targets, split_service_key


def iso(at_ms: int | None) -> str | None:
    """RFC 3339 in UTC."""
    if at_ms is None:
        return None
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    precision = "milliseconds" if at_ms % 1000 else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Reading:
    """A read transaction with everything that a query needs around it."""

    conn: Connection
    names: Names
    cluster: ClusterNames
    reader: FiguresReader
    targets: TargetBook
    settings: MasterSettings
    now_ms: int
    time_range: TimeRange
    plan: Plan

    def over(self, time_range: TimeRange) -> Plan:
        """The plan of another range, widened to the rows that are kept."""
        fine_s = self.settings.retention.fine_s
        return plan_range(
            self.conn, self.cluster.cluster_id, time_range.on_kept_rows(self.now_ms, fine_s)
        )

    def key_of(self, target_type: TargetType, identity: int) -> str:
        """The target key of a service or ingress id."""
        if target_type == "ingress":
            return self.cluster.ingress.key(self.conn, identity)
        return "/".join(self.cluster.services.key(self.conn, identity))

    def id_of(self, target_type: TargetType, target_key: str) -> int | None:
        """The id of a target key; None when nobody has reported it."""
        if target_type == "ingress":
            return self.cluster.ingress.find(self.conn, target_key)
        try:
            return self.cluster.services.find(self.conn, split_service_key(target_key))
        except ValueError:
            return None

    def ids_of(self, target_type: TargetType, keys: Sequence[str]) -> dict[int, str]:
        """The ids of those keys that somebody has reported."""
        found = ((self.id_of(target_type, key), key) for key in keys)
        return {identity: key for identity, key in found if identity is not None}

    def header(self) -> dict[str, object]:
        """How every answer begins: what it covers."""
        return {
            "cluster_id": self.cluster.cluster,
            "time_range": {
                "from": iso(self.time_range.from_ms),
                "to": iso(self.time_range.to_ms),
                "covered_seconds": self.plan.covered_s,
            },
        }


class Readings:
    """Opens readings on one database."""

    def __init__(self, store: Store, names: Names, settings: MasterSettings, clock: Clock) -> None:
        self._store = store
        self._names = names
        self._settings = settings
        self._clock = clock
        self._reader = FiguresReader(store, names)

    @contextmanager
    def open(
        self, cluster: str, time_range: TimeRange, *, aligned: bool = True
    ) -> Iterator[Reading]:
        """Begin to read.

        Raises:
            UnknownCluster: the master does not serve the cluster.
        """
        names = self._names.cluster(cluster)
        now_ms = self._clock()
        fine_s = self._settings.retention.fine_s
        time_range = (
            time_range.aligned(now_ms, fine_s)
            if aligned
            else time_range.on_kept_rows(now_ms, fine_s)
        )
        with self._store.read() as conn:
            yield Reading(
                conn=conn,
                names=self._names,
                cluster=names,
                reader=self._reader,
                targets=load_targets(conn, names.cluster_id, self._settings.target),
                settings=self._settings,
                now_ms=now_ms,
                time_range=time_range,
                plan=plan_range(conn, names.cluster_id, time_range),
            )
