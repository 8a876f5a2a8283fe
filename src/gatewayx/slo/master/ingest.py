"""Snapshots in: one transaction each, whole or not at all.

A snapshot is named by (agent_id, seq) for ever. Posting it again is harmless: while its row is
kept it is recognised, and afterwards it is older than `late_max_s` and refused. The same name on a
different interval is a conflict: the agent has lost its place, and the answer tells it which seq
comes next.

Invariant: `receive` returning means that the snapshot is on disk; `receive` raising means that no
row and no name of it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, func, select

from gatewayx.slo.master import tables
from gatewayx.slo.master.names import ClusterNames, LimitReached, Names, UnknownCluster
from gatewayx.slo.master.processors import bounds_text, edge_rows, ingress_rows, service_rows
from gatewayx.slo.master.routes import record_routes
from gatewayx.slo.master.settings import Clock, Limits
from gatewayx.slo.master.store import Store
from gatewayx.slo.snapshot import SLOSnapshot, SnapshotError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def epoch_ms(moment: datetime) -> int:
    """Milliseconds since the epoch, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


class Refused(ValueError):
    """A snapshot that is not taken; the sender is to blame and the data is as it was."""

    def __init__(
        self, status: int, reason: str, details: str, *, next_seq: int | None = None
    ) -> None:
        super().__init__(details)
        self.status = status
        self.reason = reason
        self.details = details
        self.next_seq = next_seq


@dataclass(frozen=True, slots=True)
class Receipt:
    """The acknowledgement of a snapshot."""

    status: Literal["accepted", "duplicate"]
    snapshot_id: int
    next_seq: int


class Ingest:
    """Takes snapshots into one database."""

    def __init__(self, store: Store, names: Names, limits: Limits, clock: Clock) -> None:
        self._store = store
        self._names = names
        self._limits = limits
        self._clock = clock

    def receive_json(self, body: bytes) -> Receipt:
        """Parse and store one posted snapshot.

        Raises:
            Refused: it is malformed, foreign, out of time, in conflict or past a limit.
        """
        if len(body) > self._limits.body_max_bytes:
            raise Refused(
                413, "too_large", f"a snapshot has at most {self._limits.body_max_bytes} bytes"
            )
        try:
            snapshot = SLOSnapshot.from_json(body)
        except SnapshotError as error:
            raise Refused(422, "bad_snapshot", str(error)) from error
        return self.receive(snapshot)

    def receive(self, snapshot: SLOSnapshot) -> Receipt:
        """Store one snapshot; see `receive_json`."""
        try:
            names = self._names.cluster(snapshot.cluster_id)
        except UnknownCluster:
            raise Refused(
                403, "foreign_cluster", f"this master does not serve {snapshot.cluster_id!r}"
            ) from None
        self._check_shape(snapshot)
        self._check_time(snapshot)
        try:
            return self._store_whole(snapshot, names)
        except LimitReached as error:
            raise Refused(422, "limit_reached", str(error)) from error

    def _check_shape(self, snapshot: SLOSnapshot) -> None:
        for what, found, limit in (
            ("services", len(snapshot.services), self._limits.services_max),
            ("edges", len(snapshot.edges), self._limits.edges_max),
            ("ingress keys", len(snapshot.ingress), self._limits.ingress_max),
            ("routes", len(snapshot.routes), self._limits.routes_max),
        ):
            if found > limit:
                raise Refused(422, "limit_reached", f"{found} {what}; the limit is {limit}")
        for record in (*snapshot.services, *snapshot.ingress):
            if len(record.latency_buckets) > self._limits.buckets_max:
                raise Refused(
                    422,
                    "limit_reached",
                    f"{len(record.latency_buckets)} buckets; the limit is "
                    f"{self._limits.buckets_max}",
                )

    def _check_time(self, snapshot: SLOSnapshot) -> None:
        now_ms = self._clock()
        newest = max(snapshot.timestamp, snapshot.interval_end)
        ahead_ms = epoch_ms(newest) - now_ms
        if ahead_ms > self._limits.future_max_ms:
            raise Refused(
                422,
                "from_the_future",
                f"the snapshot is {ahead_ms / 1000:g} s ahead of the master's clock; "
                f"at most {self._limits.future_max_ms / 1000:g} s is allowed",
            )
        age_ms = now_ms - epoch_ms(snapshot.interval_end)
        if age_ms > self._limits.late_max_s * 1000:
            raise Refused(
                422,
                "too_old",
                f"the interval ended {age_ms // 1000} s ago; "
                f"at most {self._limits.late_max_s} s is allowed",
            )
        length_s = (snapshot.interval_end - snapshot.interval_start).total_seconds()
        if length_s > self._limits.interval_max_s:
            raise Refused(
                422,
                "interval_too_long",
                f"the interval lasts {length_s:g} s; at most {self._limits.interval_max_s} s "
                "is allowed",
            )

    def _store_whole(self, snapshot: SLOSnapshot, names: ClusterNames) -> Receipt:
        limits, bounds = self._limits, self._names.bounds
        with self._store.write() as conn:
            agents = names.agents.intern(conn, [snapshot.agent_id], limits.services_max)
            agent_id = agents[snapshot.agent_id]
            seen = _seen(conn, agent_id, snapshot)
            if seen is not None:
                return seen
            services = names.services.intern(conn, _service_names(snapshot), limits.services_max)
            pairs = [
                (services[edge.src_ns, edge.src_name], services[edge.dst_ns, edge.dst_name])
                for edge in snapshot.edges
            ]
            edges = names.edges.intern(conn, pairs, limits.edges_max)
            ingress = names.ingress.intern(
                conn, (record.service_key for record in snapshot.ingress), limits.ingress_max
            )
            bound_sets = bounds.intern(
                conn,
                (
                    bounds_text(record)
                    for record in (*snapshot.services, *snapshot.ingress)
                    if record.latency_buckets
                ),
                limits.bound_sets_max,
            )
            snapshot_id = _insert_snapshot(conn, names.cluster_id, agent_id, snapshot)
            for table, rows in (
                (
                    tables.service_raw,
                    service_rows(snapshot_id, snapshot.services, services, bound_sets),
                ),
                (
                    tables.edge_raw,
                    edge_rows(snapshot_id, snapshot.edges, [edges[pair] for pair in pairs]),
                ),
                (
                    tables.metrics_raw,
                    ingress_rows(snapshot_id, snapshot.ingress, ingress, bound_sets),
                ),
            ):
                if rows:
                    conn.execute(table.insert(), rows)
            record_routes(
                self._store, conn, names.cluster_id, snapshot.routes, epoch_ms(snapshot.timestamp)
            )
            next_seq = _next_seq(conn, agent_id)
        # Committed: what the transaction learnt may be known.
        names.agents.publish(agents)
        names.services.publish(services)
        names.edges.publish(edges)
        names.ingress.publish(ingress)
        bounds.publish(bound_sets)
        return Receipt("accepted", snapshot_id, next_seq)


def _service_names(snapshot: SLOSnapshot) -> list[tuple[str, str]]:
    return [
        *((service.namespace, service.name) for service in snapshot.services),
        *((edge.src_ns, edge.src_name) for edge in snapshot.edges),
        *((edge.dst_ns, edge.dst_name) for edge in snapshot.edges),
    ]


def _insert_snapshot(
    conn: Connection, cluster_id: int, agent_id: int, snapshot: SLOSnapshot
) -> int:
    statement = tables.snapshots.insert().values(
        cluster_id=cluster_id,
        agent_id=agent_id,
        seq=snapshot.seq,
        timestamp_ms=epoch_ms(snapshot.timestamp),
        start_ms=epoch_ms(snapshot.interval_start),
        end_ms=epoch_ms(snapshot.interval_end),
        rolled=False,
    )
    identity = conn.execute(statement.returning(tables.snapshots.c.id)).scalar_one()
    return int(identity)


def _next_seq(conn: Connection, agent_id: int) -> int:
    columns = tables.snapshots.c
    newest = conn.execute(select(func.max(columns.seq)).where(columns.agent_id == agent_id))
    return (newest.scalar() or 0) + 1


def _seen(conn: Connection, agent_id: int, snapshot: SLOSnapshot) -> Receipt | None:
    columns = tables.snapshots.c
    row = conn.execute(
        select(columns.id, columns.timestamp_ms, columns.start_ms, columns.end_ms).where(
            columns.agent_id == agent_id, columns.seq == snapshot.seq
        )
    ).one_or_none()
    if row is None:
        return None
    next_seq = _next_seq(conn, agent_id)
    posted = (snapshot.timestamp, snapshot.interval_start, snapshot.interval_end)
    if tuple(row[1:]) != tuple(map(epoch_ms, posted)):
        raise Refused(
            # Not 409: senders take that for "you have it already" and would drop the snapshot.
            422,
            "seq_conflict",
            f"agent {snapshot.agent_id!r} has already used seq {snapshot.seq} for another "
            f"interval; the next one is {next_seq}",
            next_seq=next_seq,
        )
    return Receipt("duplicate", row.id, next_seq)
