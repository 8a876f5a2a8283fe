"""The status checker: each target's status over the last hour, and the history of its changes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select

from gatewayx.slo.master import tables
from gatewayx.slo.master.budgets import TARGET_TYPES
from gatewayx.slo.master.figures import TargetType
from gatewayx.slo.master.plan import TimeRange
from gatewayx.slo.master.reading import Reading, iso
from gatewayx.slo.master.targets import Status


def record_changes(reading: Reading, conn: Connection) -> int:
    """Compare statuses with the last recorded ones and append what changed; returns how many.

    A target without traffic keeps the status it had: silence is not recovery.
    """
    known = _latest(conn, reading.cluster.cluster_id)
    rows: list[dict[str, Any]] = []
    for target_type in TARGET_TYPES:
        found = (
            reading.reader.services(reading.conn, reading.plan)
            if target_type == "service"
            else reading.reader.ingress(reading.conn, reading.plan)
        )
        for identity, figures in found.items():
            key = reading.key_of(target_type, identity)
            p95_ms = figures.quantiles(reading.names, reading.conn, 0.95)[0].value_ms
            status = reading.targets.find(target_type, key).judge(figures, p95_ms)
            previous = known.get((target_type, key))
            if status in (Status.UNKNOWN, previous):
                continue
            rows.append(
                {
                    "cluster_id": reading.cluster.cluster_id,
                    "target_type": target_type,
                    "target_key": key,
                    "at_ms": reading.now_ms,
                    "previous": previous,
                    "status": status.value,
                    "availability": figures.availability,
                    "p95_ms": p95_ms,
                }
            )
    if rows:
        conn.execute(tables.status_history.insert(), rows)
    return len(rows)


def _latest(conn: Connection, cluster_id: int) -> dict[tuple[str, str], str]:
    c = tables.status_history.c
    newest = (
        select(func.max(c.id))
        .where(c.cluster_id == cluster_id)
        .group_by(c.target_type, c.target_key)
    )
    rows = conn.execute(select(c.target_type, c.target_key, c.status).where(c.id.in_(newest)))
    return {(row[0], row[1]): row[2] for row in rows}


def status_changes(
    conn: Connection,
    cluster_id: int,
    time_range: TimeRange,
    *,
    target_type: TargetType | None = None,
    target_key: str | None = None,
    limit: int = 1000,
) -> list[dict[str, object]]:
    """Recorded changes of a range, the newest first."""
    c = tables.status_history.c
    query = select(tables.status_history).where(
        c.cluster_id == cluster_id, c.at_ms > time_range.from_ms, c.at_ms <= time_range.to_ms
    )
    if target_type is not None:
        query = query.where(c.target_type == target_type)
    if target_key is not None:
        query = query.where(c.target_key == target_key)
    rows = conn.execute(query.order_by(c.at_ms.desc(), c.id.desc()).limit(limit))
    return [_change(row) for row in rows]


def _change(row: Row[Any]) -> dict[str, object]:
    return {
        "at": iso(row.at_ms),
        "target_type": row.target_type,
        "target": row.target_key,
        "previous": row.previous,
        "status": row.status,
        "availability": row.availability,
        "p95_latency": row.p95_ms,
    }
