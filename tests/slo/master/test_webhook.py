"""Notifications reach a real receiver, again after it failed, and once when it did not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gatewayx.slo.master.master import Master
from gatewayx.slo.master.webhook import BACKOFF_FIRST_MS
from tests.slo.master.conftest import MasterFactory
from tests.slo.master.snapshots import FakeClock, Poster, service


class Receiver:
    """An Alertmanager-shaped receiver on loopback."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                receiver.bodies.append(json.loads(self.rfile.read(length)))
                receiver.tokens.append(self.headers["Authorization"])
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/alerts"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def burning(
    open_master: MasterFactory, sqlite_url: str, receiver: Receiver, clock: FakeClock
) -> Master:
    """A master two minutes into an outage, its page about to fire."""
    master = open_master(
        sqlite_url,
        webhook_url=receiver.url,
        webhook_token="hook-secret",
        external_url="https://slo.example.com",
    )
    post(master, clock, seconds=60, failed=50)
    return master


def post(master: Master, clock: FakeClock, *, seconds: int, failed: int) -> None:
    poster = Poster(master, clock)
    poster.seq = clock.now_ms // 1000  # any numbers that grow
    for _ in range(seconds // 15):
        poster.post(services=[service("shop/web", 1000 - failed, failed)])
    master.evaluate()


def test_firing_and_resolved_are_told_once(
    burning: Master, receiver: Receiver, clock: FakeClock
) -> None:
    assert receiver.bodies == []  # pending alerts are nobody's business
    post(burning, clock, seconds=60, failed=50)
    (body,) = receiver.bodies
    assert receiver.tokens == ["Bearer hook-secret"]
    assert (body["version"], body["status"], body["truncatedAlerts"]) == ("4", "firing", 0)
    assert body["externalURL"] == "https://slo.example.com"
    assert body["groupLabels"] == {
        "alertname": "SLOErrorBudgetBurn",
        "cluster": "default",
        "target_type": "service",
        "target": "shop/web",
    }
    page = next(a for a in body["alerts"] if a["labels"]["long_window"] == "1h")
    assert page["status"] == "firing"
    assert page["startsAt"] == "2026-03-10T12:02:00Z"
    assert page["endsAt"] == "0001-01-01T00:00:00Z"
    assert len(page["fingerprint"]) == 16
    assert page["labels"] == body["groupLabels"] | {
        "severity": "page",
        "long_window": "1h",
        "short_window": "5m",
    }
    burning.evaluate()
    assert len(receiver.bodies) == 1
    clock.advance(600)
    post(burning, clock, seconds=600, failed=0)
    resolved = [a for b in receiver.bodies[1:] for a in b["alerts"] if a["status"] == "resolved"]
    assert [a["labels"]["long_window"] for a in resolved] == ["1h"]
    assert resolved[0]["fingerprint"] == page["fingerprint"]
    assert resolved[0]["endsAt"] == "2026-03-10T12:22:00Z"


def test_a_failing_receiver_is_tried_again_later(
    burning: Master, receiver: Receiver, clock: FakeClock
) -> None:
    receiver.status = 503
    post(burning, clock, seconds=60, failed=50)
    burning.evaluate()
    assert len(receiver.bodies) == 1  # not again before the backoff is over
    clock.advance(BACKOFF_FIRST_MS / 1000)
    burning.evaluate()
    assert len(receiver.bodies) == 2
    receiver.status = 200
    clock.advance(2 * BACKOFF_FIRST_MS / 1000)
    burning.evaluate()
    burning.evaluate()
    assert len(receiver.bodies) == 3
    assert receiver.bodies[0] == receiver.bodies[1]


def test_an_absent_receiver_harms_nothing(
    burning: Master, receiver: Receiver, clock: FakeClock
) -> None:
    receiver.close()
    receiver.close = lambda: None  # type: ignore[method-assign]
    post(burning, clock, seconds=60, failed=50)
    with burning.store.read() as conn:
        rows = conn.exec_driver_sql("SELECT state, notified_state FROM slo_alerts").all()
    assert ("firing", None) in [tuple(row) for row in rows]
