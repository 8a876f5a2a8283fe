"""The limit that finds itself, in front of upstreams whose capacity the tests know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.integration.conftest import Connect, Serve
from tests.integration.test_workers import start
from tests.support.caller import Caller
from tests.support.http1 import Request
from tests.support.serving import Serving
from tests.support.upstream import ScriptedUpstream, UpstreamConnection

__all__ = ["start"]

ADAPTIVE = {"limit_min": 2, "interval": 0.1, "samples_min": 10, "measure_every": 20}
QUEUE = {"size": 1000, "timeout": 60}


class Capacity:
    """Serves so many requests at a time, 20 ms each; the others wait inside."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._turns = asyncio.Semaphore(count)
        self.inside = 0
        self.most = 0

    async def __call__(self, request: Request, connection: UpstreamConnection) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        async with self._turns:
            await asyncio.sleep(0.02)
        self.inside -= 1
        await connection.respond(200, b"served")


@asynccontextmanager
async def crowd(port: int, count: int) -> AsyncIterator[list[int]]:
    """So many callers who ask again as soon as they have an answer; and every status."""
    statuses: list[int] = []
    leaving = asyncio.Event()

    async def ask_on() -> None:
        caller = await Caller.connect(port)
        while not leaving.is_set():
            statuses.append((await caller.get("/work")).status)
        await caller.close()

    tasks = [asyncio.create_task(ask_on()) for _ in range(count)]
    try:
        yield statuses
    finally:
        leaving.set()
        await asyncio.gather(*tasks)


async def limit(gateway: Serving) -> float:
    return (await gateway.metrics()).total("gateway_limiter_limit")


async def test_the_limit_settles_near_the_capacity_and_nobody_is_lost(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    work = Capacity(4)
    upstream.on("/work", work)
    gateway = await serve(max_concurrent=60, adaptive=ADAPTIVE, queue=QUEUE)
    assert await limit(gateway) == 2
    async with crowd(gateway.port, 60) as statuses:
        seen = []
        for _ in range(60):
            await asyncio.sleep(0.1)
            seen.append(await limit(gateway))
        assert max(seen) > 2
        # 1.25 * 4 and headroom; the machine's own noise is why this is wide.
        assert sorted(seen[20:])[len(seen[20:]) // 2] <= 30
    assert set(statuses) == {200}
    assert work.most < 60


async def test_an_upstream_with_room_gets_more_and_quiet_changes_nothing(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/work", Capacity(1_000))
    tolerant = ADAPTIVE | {"tolerance_percent": 1_000}
    gateway = await serve(max_concurrent=12, adaptive=tolerant, queue=QUEUE)
    caller = await connect(gateway)
    for _ in range(40):
        assert (await caller.get("/work")).status == 200
    assert await limit(gateway) == 2
    async with crowd(gateway.port, 30) as statuses:
        for _ in range(600):
            await asyncio.sleep(0.05)
            if await limit(gateway) == 12:
                break
        else:
            raise AssertionError("the limit did not grow")
    assert set(statuses) == {200}


async def test_the_limit_is_one_for_all_workers(start, upstream: ScriptedUpstream) -> None:  # type: ignore[no-untyped-def]
    work = Capacity(1_000)
    upstream.on("/work", work)
    adaptive = ADAPTIVE | {"limit_min": 3, "interval": 60}
    gateway = await start(max_concurrent=50, adaptive=adaptive, queue=QUEUE)
    async with crowd(gateway.port, 20) as statuses:
        await asyncio.sleep(1)
    assert set(statuses) == {200}
    # One interval ends at once, when the first ten have answered; the next not within the test.
    assert work.most <= 3
    samples = await asyncio.to_thread(gateway.metrics)
    assert samples.total("gateway_limiter_limit") == 3
