"""Notifications in the format of Alertmanager's webhook, version 4.

The alerts table is the outbox: whatever differs from `notified_state` is still to be told. So a
notification survives kill -9, is repeated until the receiver answers 2xx, and may come twice but
never not at all. One POST carries all alerts of one target.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import httpx
from sqlalchemy import Row, or_, select, update

from gatewayx.slo.master import tables
from gatewayx.slo.master.alerts import ALERT_NAME, alert_annotations, alert_labels
from gatewayx.slo.master.names import ClusterNames
from gatewayx.slo.master.reading import iso
from gatewayx.slo.master.settings import Clock, MasterSettings
from gatewayx.slo.master.store import Store

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
BACKOFF_FIRST_MS = 5_000
BACKOFF_MAX_MS = 300_000

# How Alertmanager writes "not yet".
NO_TIME = "0001-01-01T00:00:00Z"


def payload(cluster: str, external_url: str, alerts: Iterable[Any]) -> dict[str, Any]:
    """The body of one POST: the alerts of one target of one cluster."""
    items: list[dict[str, Any]] = []
    for alert in alerts:
        labels = alert_labels(cluster, alert)
        fingerprint = hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16]
        items.append(
            {
                "status": "resolved" if alert.state == "resolved" else "firing",
                "labels": labels,
                "annotations": alert_annotations(alert),
                "startsAt": iso(alert.fired_ms),
                "endsAt": iso(alert.resolved_ms) or NO_TIME,
                "generatorURL": f"{external_url}/api/v2/slo/alerts?cluster_id={cluster}",
                "fingerprint": fingerprint,
            }
        )
    grouped = ("alertname", "cluster", "target_type", "target")
    group = {name: items[0]["labels"][name] for name in grouped}
    return {
        "version": "4",
        "groupKey": "{}:{" + ", ".join(f'{k}="{v}"' for k, v in sorted(group.items())) + "}",
        "truncatedAlerts": 0,
        "status": "firing" if any(item["status"] == "firing" for item in items) else "resolved",
        "receiver": "gatewayx",
        "groupLabels": group,
        "commonLabels": _shared([item["labels"] for item in items]),
        "commonAnnotations": _shared([item["annotations"] for item in items]),
        "externalURL": external_url,
        "alerts": items,
    }


def _shared(mappings: list[dict[str, str]]) -> dict[str, str]:
    first, *rest = mappings
    return {k: v for k, v in first.items() if all(other.get(k) == v for other in rest)}


class Webhook:
    """Tells one receiver what fires and what is resolved."""

    def __init__(self, store: Store, settings: MasterSettings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._retry_ms = 0
        self._backoff_ms = BACKOFF_FIRST_MS

    def deliver(self, cluster: ClusterNames) -> int:
        """Tell what is still untold; returns how many alerts the receiver has taken."""
        url = self._settings.webhook_url
        if url is None or self._clock() < self._retry_ms:
            return 0
        delivered = 0
        untold = self._untold(cluster.cluster_id)
        for _, group in groupby(untold, key=lambda alert: (alert.target_type, alert.target_key)):
            members = list(group)
            body = payload(cluster.cluster, self._settings.external_url, members)
            if not self._post(url, body):
                self._retry_ms = self._clock() + self._backoff_ms
                self._backoff_ms = min(self._backoff_ms * 2, BACKOFF_MAX_MS)
                break
            self._backoff_ms = BACKOFF_FIRST_MS
            self._mark(members)
            delivered += len(members)
        return delivered

    def _untold(self, cluster_id: int) -> list[Row[Any]]:
        c = tables.alerts.c
        query = (
            select(tables.alerts)
            .where(
                c.cluster_id == cluster_id,
                c.state.in_(("firing", "resolved")),
                or_(c.notified_state.is_(None), c.notified_state != c.state),
            )
            .order_by(c.target_type, c.target_key, c.id)
        )
        with self._store.read() as conn:
            return list(conn.execute(query))

    def _mark(self, alerts: list[Row[Any]]) -> None:
        c = tables.alerts.c
        with self._store.write() as conn:
            for alert in alerts:
                # The state that was told, which need not be the state by now.
                conn.execute(
                    update(tables.alerts).where(c.id == alert.id).values(notified_state=alert.state)
                )

    def _post(self, url: str, body: dict[str, Any]) -> bool:
        token = self._settings.webhook_token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        try:
            response = httpx.post(url, json=body, headers=headers, timeout=TIMEOUT_S)
        except httpx.HTTPError as error:
            log.warning("%s webhook: %s", ALERT_NAME, error)
            return False
        if not response.is_success:
            log.warning("%s webhook: the receiver answered %d", ALERT_NAME, response.status_code)
        return response.is_success
