"""Several worker processes that share one limit, one breaker, one set of books."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.caller import Caller
from tests.support.gateway import GatewayProcess, Samples
from tests.support.http1 import NotHttp, Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection

CALLERS_COUNT = 200
LIMIT = 10


class Crowd:
    """A slow handler that counts who is inside."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.inside = 0
        self.most = 0

    async def __call__(self, request: Request, connection: UpstreamConnection) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.inside -= 1
        await connection.respond(200, b"through")


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def start(tmp_path: Path, upstream: ScriptedUpstream) -> AsyncIterator[Any]:
    gateways: list[GatewayProcess] = []

    async def start_one(**options: Any) -> GatewayProcess:
        proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url, **options}
        gateway = GatewayProcess(tmp_path, {"workers": 2, "proxies": [proxy]})
        gateways.append(gateway)
        await asyncio.to_thread(gateway.start)
        return gateway

    yield start_one
    for gateway in gateways:
        await asyncio.to_thread(gateway.kill)


async def ask_at_once(port: int, count: int) -> Counter[int]:
    """Statuses of so many requests at a time, each on its own connection; 0 for a broken one."""

    async def one() -> int:
        try:
            caller = await Caller.connect(port)
            try:
                return (await caller.get("/slow")).status
            finally:
                await caller.close()
        except (OSError, EOFError, NotHttp, AssertionError):
            return 0

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


async def at_rest(gateway: GatewayProcess) -> Samples:
    """The books once nothing holds or waits for a permit."""
    for _ in range(500):
        samples = await asyncio.to_thread(gateway.metrics)
        names = ("gateway_limiter_in_use", "gateway_limiter_queued", "gateway_active_connections")
        if not any(samples.total(name) for name in names):
            return samples
        await asyncio.sleep(0.02)
    raise AssertionError("permits or requests are left over")


async def test_the_limit_is_one_for_all_workers(upstream: ScriptedUpstream, start: Any) -> None:
    crowd = Crowd(0.05)
    upstream.on("/slow", crowd)
    gateway = await start(max_concurrent=LIMIT)
    for _ in range(5):
        statuses = await ask_at_once(gateway.port, CALLERS_COUNT)
        assert statuses.keys() == {200, 429}
        assert statuses[200] >= LIMIT
    assert crowd.most == LIMIT
    samples = await at_rest(gateway)
    assert samples.total("gateway_requests_total") == 5 * CALLERS_COUNT
    assert samples.total("gateway_requests_total", status="200") == len(upstream.requests)


async def test_the_queue_serves_everybody_across_workers(
    upstream: ScriptedUpstream, start: Any
) -> None:
    crowd = Crowd(0.01)
    upstream.on("/slow", crowd)
    gateway = await start(max_concurrent=LIMIT, queue={"size": CALLERS_COUNT, "timeout": 30})
    for _ in range(3):
        assert await ask_at_once(gateway.port, CALLERS_COUNT) == {200: CALLERS_COUNT}
    assert crowd.most == LIMIT
    await at_rest(gateway)


async def test_a_killed_worker_gives_its_permits_back(
    upstream: ScriptedUpstream, start: Any
) -> None:
    crowd = Crowd(0.05)
    upstream.on("/slow", crowd)
    gateway = await start(max_concurrent=LIMIT, queue={"size": CALLERS_COUNT, "timeout": 30})
    asking = asyncio.create_task(ask_at_once(gateway.port, CALLERS_COUNT))
    while crowd.inside < LIMIT:  # noqa: ASYNC110 - until the upstream is full
        await asyncio.sleep(0.005)
    victim = gateway.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    statuses = await asking
    # What the dead worker served or let wait is lost; everybody else is served.
    assert statuses.keys() <= {0, 200}
    assert statuses[200] > 0
    await at_rest(gateway)
    for _ in range(300):
        if len(gateway.worker_pids()) == 2 and victim not in gateway.worker_pids():
            break
        await asyncio.sleep(0.02)
    assert await ask_at_once(gateway.port, CALLERS_COUNT) == {200: CALLERS_COUNT}
    await at_rest(gateway)


async def test_a_trip_is_a_trip_in_every_worker(upstream: ScriptedUpstream, start: Any) -> None:
    async def failing(request: Request, connection: UpstreamConnection) -> None:
        await connection.respond(500, b"broken")

    upstream.on("/slow", failing)
    gateway = await start(
        circuit_breaker={"enabled": True, "failure_threshold": 5, "recovery_timeout": 60}
    )
    for _ in range(5):
        assert (await ask_at_once(gateway.port, 1)) == {500: 1}
    assert await ask_at_once(gateway.port, 100) == {503: 100}
    assert len(upstream.requests) == 5
