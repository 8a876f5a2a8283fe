"""Folds raw snapshots into five minutes, hours and days.

Each run takes the snapshots that are not yet rolled and adds them to the rows they belong to in all
three spans, and marks them, in one transaction::

    raw (rolled = false) --sum--> + slo_*_5m + slo_*_hourly + slo_*_daily, rolled = true

So the last full hour and the current, partial one are right after each run, a late snapshot amends
its hour whenever it comes, a run that dies changes nothing, and running again adds nothing twice.
Percentiles are computed anew from the merged buckets; a percentile is never merged.

Cost: proportional to the snapshots since the last run, whatever the hour already holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Table, false, literal, select, update

from gatewayx.slo.master import tables
from gatewayx.slo.master.figures import Figures
from gatewayx.slo.master.histogram import pack
from gatewayx.slo.master.names import Names
from gatewayx.slo.master.plan import Plan, Segment, TimeRange, span_start_s, union_ms
from gatewayx.slo.master.reader import SUMMED_EDGE_COLUMNS, FiguresReader, edge_sums
from gatewayx.slo.master.store import Store
from gatewayx.slo.master.tables import FIVE_MINUTES_S, SPANS_S, STATUS_CLASSES

# Snapshots of one transaction: bounds the time for which ingest waits behind a backlog.
BATCH_MAX = 20

Place = tuple[int, int]
"""(span_s, start_s)"""


@dataclass(frozen=True, slots=True)
class _Pending:
    id: int
    cluster_id: int
    end_ms: int

    @property
    def fine_start_s(self) -> int:
        return span_start_s(self.end_ms, FIVE_MINUTES_S)


class Rollup:
    """Keeps the rolled-up tables of one database up to date."""

    def __init__(self, store: Store, names: Names) -> None:
        self._store = store
        self._names = names
        self._reader = FiguresReader(store, names)

    def run(self) -> int:
        """Fold everything that waits; returns how many snapshots were folded."""
        folded = 0
        while count := self._fold_batch():
            folded += count
        return folded

    def _fold_batch(self) -> int:
        with self._store.write() as conn:
            pending = _pending(conn)
            by_cluster: dict[int, list[_Pending]] = defaultdict(list)
            for snapshot in pending:
                by_cluster[snapshot.cluster_id].append(snapshot)
            for cluster_id, snapshots in by_cluster.items():
                self._fold(conn, cluster_id, snapshots)
            if pending:
                columns = tables.snapshots.c
                conn.execute(
                    update(tables.snapshots)
                    .where(columns.id.in_([snapshot.id for snapshot in pending]))
                    .values(rolled=True)
                )
        return len(pending)

    def _fold(self, conn: Connection, cluster_id: int, snapshots: Sequence[_Pending]) -> None:
        gained: dict[Place, _Gain] = defaultdict(_Gain)
        ordered = sorted(snapshots, key=lambda snapshot: snapshot.fine_start_s)
        for fine_start_s, group in groupby(ordered, key=lambda snapshot: snapshot.fine_start_s):
            ids = tuple(snapshot.id for snapshot in group)
            services = list(self._reader.raw_services(conn, [ids]))
            ingress = list(self._reader.raw_ingress(conn, [ids]))
            covered_ms = _gained_ms(conn, cluster_id, fine_start_s, ids)
            # The end of the five minutes lies in the hour and the day that they belong to.
            end_ms = (fine_start_s + FIVE_MINUTES_S) * 1000
            for span_s in SPANS_S:
                place = (span_s, span_start_s(end_ms, span_s))
                self._add_edges(conn, cluster_id, place, ids)
                gain = gained[place]
                gain.add(services, ingress)
                gain.covered_ms += covered_ms
                gain.snapshot_count += len(ids)
        for place, gain in gained.items():
            self._write(conn, cluster_id, place, gain)

    def _write(self, conn: Connection, cluster_id: int, place: Place, gain: _Gain) -> None:
        span_s, start_s = place
        covered_ms = self._add_coverage(conn, cluster_id, place, gain)
        plan = _row_plan(cluster_id, place, covered_ms)
        row_key = {"cluster_id": cluster_id, "start_s": start_s}
        stored = self._reader.services(conn, plan) if gain.services else {}
        rows = []
        for service_id, figures in gain.services.items():
            if service_id in stored:
                figures.add(stored[service_id])
            rows.append(
                row_key
                | {"service_id": service_id, "mtls_percent": figures.mtls_percent}
                | {"tls_requests": figures.tls_requests, "tls_total": figures.tls_total}
                | self._golden_row(conn, plan, figures)
            )
        self._store.upsert(conn, tables.SERVICE_ROLLED[span_s], rows)
        stored = self._reader.ingress(conn, plan) if gain.ingress else {}
        rows = []
        for ingress_id, figures in gain.ingress.items():
            if ingress_id in stored:
                figures.add(stored[ingress_id])
            rows.append(
                row_key
                | {"ingress_id": ingress_id, "methods": figures.methods or None}
                | self._golden_row(conn, plan, figures)
            )
        self._store.upsert(conn, tables.METRICS_ROLLED[span_s], rows)

    def _golden_row(self, conn: Connection, plan: Plan, figures: Figures) -> dict[str, Any]:
        p50, p95, p99 = figures.quantiles(self._names, conn, 0.5, 0.95, 0.99)
        packed = {
            bounds_id: pack(counts) for bounds_id, counts in sorted(figures.histograms.items())
        }
        main = figures.main_histogram()
        bounds_id = main[0] if main else None
        buckets = packed.pop(bounds_id) if bounds_id is not None else None
        return {
            "total": figures.total,
            "errors": figures.errors,
            **{
                f"status_{name}": count
                for name, count in zip(STATUS_CLASSES, figures.classes, strict=True)
            },
            "latency_sum": figures.latency_sum,
            "latency_count": figures.latency_count,
            "bounds_id": bounds_id,
            "buckets": buckets,
            "other_buckets": packed or None,
            "availability": figures.availability,
            "p50_ms": p50.value_ms,
            "p95_ms": p95.value_ms,
            "p99_ms": p99.value_ms,
            "avg_ms": figures.avg_ms,
            "saturated": p99.saturated,
            "rps": plan.rate(figures.total),
            "sample_count": figures.sample_count,
        }

    def _add_edges(
        self, conn: Connection, cluster_id: int, place: Place, ids: Sequence[int]
    ) -> None:
        """Edges are sums and nothing else: they never leave the database."""
        span_s, start_s = place
        table, raw = tables.EDGE_ROLLED[span_s], tables.edge_raw
        sums = edge_sums(raw).where(raw.c.snapshot_id.in_(ids))
        sums = sums.with_only_columns(literal(cluster_id), literal(start_s), *sums.selected_columns)
        statement = self._store.insert(table).from_select(
            ["cluster_id", "start_s", "edge_id", *SUMMED_EDGE_COLUMNS], sums
        )
        conn.execute(self._adding(table, statement, SUMMED_EDGE_COLUMNS))

    def _add_coverage(self, conn: Connection, cluster_id: int, place: Place, gain: _Gain) -> int:
        key = {"cluster_id": cluster_id, "span_s": place[0], "start_s": place[1]}
        added = {"covered_ms": gain.covered_ms, "snapshot_count": gain.snapshot_count}
        statement = self._store.insert(tables.coverage).values(**key, **added)
        conn.execute(self._adding(tables.coverage, statement, list(added)))
        columns = tables.coverage.c
        covered_ms = conn.execute(
            select(columns.covered_ms).where(*(columns[name] == key[name] for name in key))
        ).scalar_one()
        return int(covered_ms)

    def _adding(self, table: Table, statement: Any, names: Sequence[str]) -> Any:
        """An INSERT that adds to the row with the same key where there is one."""
        return statement.on_conflict_do_update(
            index_elements=[column.name for column in table.primary_key],
            set_={name: table.c[name] + statement.excluded[name] for name in names},
        )


@dataclass(slots=True)
class _Gain:
    """What a run adds to the rows of one place."""

    services: dict[int, Figures] = field(default_factory=dict)
    ingress: dict[int, Figures] = field(default_factory=dict)
    covered_ms: int = 0
    snapshot_count: int = 0

    def add(
        self,
        services: Iterable[tuple[int, Figures]],
        ingress: Iterable[tuple[int, Figures]],
    ) -> None:
        for key, figures in services:
            self.services.setdefault(key, Figures()).add(figures)
        for key, figures in ingress:
            self.ingress.setdefault(key, Figures()).add(figures)


def _pending(conn: Connection) -> list[_Pending]:
    columns = tables.snapshots.c
    rows = conn.execute(
        select(columns.id, columns.cluster_id, columns.end_ms)
        .where(columns.rolled == false())
        .order_by(columns.id)
        .limit(BATCH_MAX)
    )
    return [_Pending(*row) for row in rows]


def _gained_ms(conn: Connection, cluster_id: int, fine_start_s: int, ids: Sequence[int]) -> int:
    """Time that these snapshots add to what the rolled ones of their five minutes cover."""
    columns = tables.snapshots.c
    rows = conn.execute(
        select(columns.id, columns.rolled, columns.start_ms, columns.end_ms).where(
            columns.cluster_id == cluster_id,
            columns.end_ms > fine_start_s * 1000,
            columns.end_ms <= (fine_start_s + FIVE_MINUTES_S) * 1000,
        )
    ).all()
    before = union_ms((row.start_ms, row.end_ms) for row in rows if row.rolled)
    after = union_ms((row.start_ms, row.end_ms) for row in rows if row.rolled or row.id in ids)
    return after - before


def _row_plan(cluster_id: int, place: Place, covered_ms: int) -> Plan:
    span_s, start_s = place
    time_range = TimeRange(start_s * 1000, (start_s + span_s) * 1000)
    segment = Segment(span_s, start_s, start_s + span_s)
    return Plan(cluster_id, time_range, (segment,), (), covered_ms)
