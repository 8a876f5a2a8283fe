"""Removes what is older than its retention, a little at a time.

Each transaction removes a bounded number of snapshots, so that ingest never waits long behind a
cleaning. Only rolled snapshots are removed: what has not been added up yet is not history.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, delete, select, true

from gatewayx.slo.master import tables
from gatewayx.slo.master.names import Names
from gatewayx.slo.master.settings import Clock, Retention
from gatewayx.slo.master.store import Store
from gatewayx.slo.master.tables import DAY_S, FIVE_MINUTES_S, HOUR_S

# Snapshots of one transaction; some 6,500 rows each at the largest supported size.
BATCH_MAX = 20

_RAW = (tables.service_raw, tables.edge_raw, tables.metrics_raw)
_ROLLED = (tables.SERVICE_ROLLED, tables.EDGE_ROLLED, tables.METRICS_ROLLED)


class Cleaner:
    """Enforces the retention of one database."""

    def __init__(self, store: Store, names: Names, retention: Retention, clock: Clock) -> None:
        self._store = store
        self._names = names
        self._retention = retention
        self._clock = clock

    def run(self) -> int:
        """Remove everything that is out of date; returns how many snapshots were removed."""
        now_s = self._clock() // 1000
        removed = 0
        while count := self._remove_snapshots(1000 * (now_s - self._retention.fine_s)):
            removed += count
        for span_s, kept_s in (
            (FIVE_MINUTES_S, self._retention.fine_s),
            (HOUR_S, self._retention.hourly_s),
            (DAY_S, self._retention.hourly_s),
        ):
            self._remove_rolled(span_s, now_s - kept_s)
        self._remove_history(1000 * (now_s - self._retention.history_s))
        self._remove_routes(1000 * (now_s - self._retention.hourly_s))
        self._remove_names()
        return removed

    def _remove_snapshots(self, before_ms: int) -> int:
        c = tables.snapshots.c
        with self._store.write() as conn:
            ids = conn.scalars(
                select(c.id)
                .where(c.end_ms <= before_ms, c.rolled == true())
                .order_by(c.id)
                .limit(BATCH_MAX)
            ).all()
            if ids:
                for table in _RAW:
                    conn.execute(delete(table).where(table.c.snapshot_id.in_(ids)))
                conn.execute(delete(tables.snapshots).where(c.id.in_(ids)))
        return len(ids)

    def _remove_rolled(self, span_s: int, before_s: int) -> None:
        # A row goes when all of its span is out of date.
        last_start_s = before_s - span_s
        for rolled in _ROLLED:
            with self._store.write() as conn:
                table: Table = rolled[span_s]
                conn.execute(delete(table).where(*self._in_clusters(table, last_start_s)))
        with self._store.write() as conn:
            c = tables.coverage.c
            conn.execute(
                delete(tables.coverage).where(c.span_s == span_s, c.start_s <= last_start_s)
            )

    def _in_clusters(self, table: Table, last_start_s: int) -> tuple[ColumnElement[bool], ...]:
        # Naming the clusters lets the primary key find the rows.
        ids = [names.cluster_id for names in self._names.clusters()]
        return (table.c.cluster_id.in_(ids), table.c.start_s <= last_start_s)

    def _remove_history(self, before_ms: int) -> None:
        with self._store.write() as conn:
            for table, moment in (
                (tables.status_history, tables.status_history.c.at_ms),
                (tables.alerts, tables.alerts.c.resolved_ms),
                (tables.fault_windows, tables.fault_windows.c.end_ms),
            ):
                conn.execute(delete(table).where(moment.is_not(None), moment <= before_ms))

    def _remove_routes(self, before_ms: int) -> None:
        c = tables.route_mapping.c
        with self._store.write() as conn:
            conn.execute(delete(tables.route_mapping).where(c.last_seen_ms <= before_ms))

    def _remove_names(self) -> None:
        """Forget names without a row anywhere, so that churn cannot fill the dictionaries."""
        with self._store.write() as conn:
            waiting = conn.scalar(
                select(tables.snapshots.c.id).where(tables.snapshots.c.rolled.is_(False)).limit(1)
            )
            if waiting is not None:
                return  # raw rows that are in no day yet may be the only ones of their names
            for table, used in (
                (tables.edges, [tables.edge_daily.c.edge_id]),
                (tables.ingress_keys, [tables.metrics_daily.c.ingress_id]),
                (
                    tables.services,
                    [
                        tables.service_daily.c.service_id,
                        tables.edges.c.source_id,
                        tables.edges.c.target_id,
                    ],
                ),
            ):
                kept = [table.c.id.not_in(select(column).distinct()) for column in used]
                conn.execute(delete(table).where(*kept))
            # Still inside the lock: no snapshot can use an id that is gone.
            for names in self._names.clusters():
                names.forget()
