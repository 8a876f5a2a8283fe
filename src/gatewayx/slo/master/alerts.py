"""The life of an alert.

::

    (none) --exceeded--> pending --exceeded for hold_s--> firing --not exceeded--> resolved
                            |
                            +--not exceeded--> (none)

Pending alerts that end leave nothing behind; firing ones are kept as resolved. The states and their
timing are those of a Prometheus alerting rule with `for`, so that exported rules agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from gatewayx.slo.master import tables
from gatewayx.slo.master.burn import Burn, rule_name
from gatewayx.slo.master.processors import Row
from gatewayx.slo.master.reading import iso

ALERT_NAME = "SLOErrorBudgetBurn"

AlertKey = tuple[str, str, str]

_IDS_MAX = 5000


@dataclass(slots=True)
class _Changes:
    """The rows that one evaluation writes, in bulk: there may be thousands of alerts."""

    begun: list[Row] = field(default_factory=list)
    continued: list[Row] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)

    def write(self, conn: Connection) -> None:
        c = tables.alerts.c
        if self.begun:
            conn.execute(tables.alerts.insert(), self.begun)
        if self.continued:
            changed = ("state", "fired_ms", "resolved_ms", "burn_long", "burn_short")
            statement = update(tables.alerts).where(c.id == bindparam("alert_id"))
            conn.execute(
                statement.values({name: bindparam(f"new_{name}") for name in changed}),
                self.continued,
            )
        for start in range(0, len(self.dropped), _IDS_MAX):
            ids = self.dropped[start : start + _IDS_MAX]
            conn.execute(delete(tables.alerts).where(c.id.in_(ids)))


def advance(conn: Connection, cluster_id: int, burns: Iterable[Burn], now_ms: int) -> None:
    """Move every alert of a cluster to where this evaluation puts it."""
    active = _active(conn, cluster_id)
    changes = _Changes()
    for burn in burns:
        target = burn.target
        key = (target.target_type, target.target_key, rule_name(burn.rule))
        alert = active.pop(key, None)
        if burn.exceeded and alert is None:
            changes.begun.append(_begun(cluster_id, key, burn, now_ms))
        elif burn.exceeded:
            changes.continued.append(_continued(alert, burn, now_ms))
        elif alert is not None:
            _end(alert, changes, now_ms)
    # A target or a rule that is gone cannot burn any more.
    for alert in active.values():
        _end(alert, changes, now_ms)
    changes.write(conn)


def _active(conn: Connection, cluster_id: int) -> dict[AlertKey, Any]:
    c = tables.alerts.c
    rows = conn.execute(
        select(tables.alerts).where(c.cluster_id == cluster_id, c.state.in_(("pending", "firing")))
    ).all()
    return {(row.target_type, row.target_key, row.rule): row for row in rows}


def _begun(cluster_id: int, key: AlertKey, burn: Burn, now_ms: int) -> Row:
    at_once = burn.rule.hold_s == 0
    return {
        "cluster_id": cluster_id,
        "target_type": key[0],
        "target_key": key[1],
        "rule": key[2],
        "severity": burn.rule.severity,
        "state": "firing" if at_once else "pending",
        "pending_ms": now_ms,
        "fired_ms": now_ms if at_once else None,
        "burn_long": burn.burn_long,
        "burn_short": burn.burn_short,
    }


def _continued(alert: Any, burn: Burn, now_ms: int) -> Row:
    held = now_ms - alert.pending_ms >= burn.rule.hold_s * 1000
    fires = alert.state == "pending" and held
    return {
        "alert_id": alert.id,
        "new_state": "firing" if fires else alert.state,
        "new_fired_ms": now_ms if fires else alert.fired_ms,
        "new_resolved_ms": None,
        "new_burn_long": burn.burn_long,
        "new_burn_short": burn.burn_short,
    }


def _end(alert: Any, changes: _Changes, now_ms: int) -> None:
    if alert.state == "pending":
        changes.dropped.append(alert.id)
        return
    changes.continued.append(
        {
            "alert_id": alert.id,
            "new_state": "resolved",
            "new_fired_ms": alert.fired_ms,
            "new_resolved_ms": now_ms,
            "new_burn_long": alert.burn_long,
            "new_burn_short": alert.burn_short,
        }
    )


def list_alerts(
    conn: Connection, cluster_id: int, *, state: str | None = None, resolved_since_ms: int = 0
) -> list[Any]:
    """Alerts of a cluster, the newest first; resolved ones from `resolved_since_ms` on."""
    c = tables.alerts.c
    query = select(tables.alerts).where(c.cluster_id == cluster_id)
    query = query.where((c.resolved_ms.is_(None)) | (c.resolved_ms >= resolved_since_ms))
    if state is not None:
        query = query.where(c.state == state)
    return list(conn.execute(query.order_by(c.pending_ms.desc(), c.id.desc())))


def alert_labels(cluster: str, alert: Any) -> dict[str, str]:
    """The labels of an alert, equal to those of the exported Prometheus rule."""
    _, long_window, short_window = alert.rule.split("_")
    return {
        "alertname": ALERT_NAME,
        "cluster": cluster,
        "severity": alert.severity,
        "target_type": alert.target_type,
        "target": alert.target_key,
        "long_window": long_window,
        "short_window": short_window,
    }


def alert_annotations(alert: Any) -> dict[str, str]:
    """What a person who is woken up reads first."""
    _, long_window, short_window = alert.rule.split("_")
    return {
        "summary": f"{alert.target_type} {alert.target_key} is burning its error budget",
        "description": (
            f"burn rate {alert.burn_long:.1f} over {long_window} "
            f"and {alert.burn_short:.1f} over {short_window}"
        ),
    }


def alert_answer(cluster: str, alert: Any) -> dict[str, object]:
    """An alert as the API gives it."""
    return {
        "state": alert.state,
        "target_type": alert.target_type,
        "target": alert.target_key,
        "severity": alert.severity,
        "rule": alert.rule,
        "burn_rate_long": alert.burn_long,
        "burn_rate_short": alert.burn_short,
        "pending_since": iso(alert.pending_ms),
        "fired_at": iso(alert.fired_ms),
        "resolved_at": iso(alert.resolved_ms),
        "labels": alert_labels(cluster, alert),
        "annotations": alert_annotations(alert),
    }
