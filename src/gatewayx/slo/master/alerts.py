"""The life of an alert.

::

    (none) --exceeded--> pending --exceeded for hold_s--> firing --not exceeded--> resolved
                            |
                            +--not exceeded--> (none)

Pending alerts that end leave nothing behind; firing ones are kept as resolved. The states and their
timing are those of a Prometheus alerting rule with `for`, so that exported rules agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from gatewayx.slo.master import tables
from gatewayx.slo.master.burn import Burn, rule_name
from gatewayx.slo.master.reading import iso

ALERT_NAME = "SLOErrorBudgetBurn"

AlertKey = tuple[str, str, str]


def advance(conn: Connection, cluster_id: int, burns: Iterable[Burn], now_ms: int) -> None:
    """Move every alert of a cluster to where this evaluation puts it."""
    active = _active(conn, cluster_id)
    for burn in burns:
        target = burn.target
        key = (target.target_type, target.target_key, rule_name(burn.rule))
        alert = active.pop(key, None)
        if burn.exceeded:
            _exceeded(conn, cluster_id, key, alert, burn, now_ms)
        elif alert is not None:
            _ended(conn, alert, now_ms)
    # A target or a rule that is gone cannot burn any more.
    for alert in active.values():
        _ended(conn, alert, now_ms)


def _active(conn: Connection, cluster_id: int) -> dict[AlertKey, Row[Any]]:
    c = tables.alerts.c
    rows = conn.execute(
        select(tables.alerts).where(c.cluster_id == cluster_id, c.state.in_(("pending", "firing")))
    )
    return {(row.target_type, row.target_key, row.rule): row for row in rows}


def _exceeded(
    conn: Connection,
    cluster_id: int,
    key: AlertKey,
    alert: Row[Any] | None,
    burn: Burn,
    now_ms: int,
) -> None:
    rates = {"burn_long": burn.burn_long, "burn_short": burn.burn_short}
    pending_ms = now_ms if alert is None else alert.pending_ms
    held = now_ms - pending_ms >= burn.rule.hold_s * 1000
    if alert is None:
        conn.execute(
            tables.alerts.insert().values(
                cluster_id=cluster_id,
                target_type=key[0],
                target_key=key[1],
                rule=key[2],
                severity=burn.rule.severity,
                state="firing" if held else "pending",
                pending_ms=now_ms,
                fired_ms=now_ms if held else None,
                **rates,
            )
        )
        return
    fired = {"state": "firing", "fired_ms": now_ms} if held and alert.state == "pending" else {}
    _change(conn, alert, rates | fired)


def _ended(conn: Connection, alert: Row[Any], now_ms: int) -> None:
    if alert.state == "pending":
        conn.execute(delete(tables.alerts).where(tables.alerts.c.id == alert.id))
    else:
        _change(conn, alert, {"state": "resolved", "resolved_ms": now_ms})


def _change(conn: Connection, alert: Row[Any], values: Mapping[str, Any]) -> None:
    conn.execute(update(tables.alerts).where(tables.alerts.c.id == alert.id).values(**values))


def list_alerts(
    conn: Connection, cluster_id: int, *, state: str | None = None, resolved_since_ms: int = 0
) -> list[Row[Any]]:
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
