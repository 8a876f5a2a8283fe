"""A gateway state with known figures, and an admin API on a real socket in front of it."""

import http.client
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gatewayx import _native
from gatewayx.admin import (
    AdminServer,
    BreakerOrder,
    Family,
    NoBreakerError,
    SuperuserToken,
    WorkerStatus,
    create_app,
)
from gatewayx.admin.exposition import write
from gatewayx.chaos import PolicyBook
from gatewayx.config import GatewayConfig, validate

TOKEN = "a-token-for-tests"

CONFIG = {
    "proxies": [
        {
            "name": "sidecar",
            "path": "/api/sidecar",
            "upstream": "http://127.0.0.1:8001",
            "headers": {"Authorization": "Bearer hunter2", "X-Key": "{env.KEY}"},
        }
    ]
}


def policy_book() -> PolicyBook:
    async def publish() -> None:
        pass

    return PolicyBook(_native.Metrics.private(1, 4), range(1, 5), publish)


@dataclass
class KnownState:
    """An `AdminState` whose figures the tests choose."""

    config: GatewayConfig = field(default_factory=lambda: validate(CONFIG, {"KEY": "k"}))
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    accepts: bool = True
    reload_error: Exception | None = None
    drained: bool = False
    book: PolicyBook = field(default_factory=policy_book)
    breakers: dict[str, BreakerOrder] = field(default_factory=lambda: {"sidecar": "auto"})

    @property
    def policies(self) -> PolicyBook:
        return self.book

    def metrics(self) -> list[tuple[Any, ...]]:
        return self.rows

    def metrics_text(self, openmetrics: bool) -> bytes:
        return write(self.rows, openmetrics=openmetrics)

    def ready(self) -> bool:
        return self.accepts

    def workers(self) -> list[WorkerStatus]:
        return [WorkerStatus(slot=0, pid=4711, state="serving", restarts=2)]

    def forced_breaker(self, proxy: str) -> BreakerOrder:
        if proxy == "bare":
            raise NoBreakerError(proxy)
        return self.breakers[proxy]

    def force_breaker(self, proxy: str, state: BreakerOrder) -> None:
        self.forced_breaker(proxy)
        self.breakers[proxy] = state

    def health(self, proxy: str) -> list[dict[str, Any]]:
        return [
            {"url": "http://127.0.0.1:8001", "up": False, "since": 1.5, "failure": "status 500"}
        ]

    def drain(self) -> None:
        self.drained = True

    async def reload(self) -> dict[str, Any]:
        if self.reload_error is not None:
            raise self.reload_error
        return {"added": ["new"]}


ROWS: list[tuple[Any, ...]] = [
    (
        "gateway_requests",
        "counter",
        "Requests.",
        ("proxy", "status"),
        [(("sidecar", "200"), 7), (("sidecar", "502"), 1)],
    ),
    Family("gateway_active_connections", "gauge", "Now.", ("proxy",), [(("sidecar",), 3)]),
    Family(
        "gateway_upstream_latency_seconds",
        "histogram",
        "Time.",
        ("proxy",),
        [(("sidecar",), [1, 4, 6], 2.75)],
        (0.05, 1.0),
    ),
    Family("wasmcustom_hfi_faults_aborts_total", "counter", "Aborts.", (), [((), 0)]),
]


@dataclass
class Answer:
    """A response, read to its end."""

    status: int
    fields: http.client.HTTPMessage
    body: str


Ask = Callable[..., Answer]


def ask_at(port: int, path: str, *, method: str = "GET", **fields: str) -> Answer:
    """One request on a connection of its own; blocks, so call it off the loop."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=fields)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


@pytest.fixture
def state() -> KnownState:
    return KnownState(rows=list(ROWS))


@pytest.fixture
async def port(state: KnownState) -> AsyncIterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = AdminServer(create_app(state, SuperuserToken(TOKEN)), listening)
    await server.start()
    yield port
    await server.stop()
