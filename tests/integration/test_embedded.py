"""`async with gatewayx.Gateway(...)`: a gateway inside a program, on uvloop and on asyncio."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
import yaml

from gatewayx import Gateway
from tests.support.caller import Caller
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.waiting import eventually

Run = Callable[[Awaitable[None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on a loop of that kind."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def on_loop(main: Awaitable[None]) -> None:
        async def whole() -> None:
            await main

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(whole())

    return on_loop


@asynccontextmanager
async def an_upstream() -> AsyncIterator[ScriptedUpstream]:
    upstream = ScriptedUpstream()
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


def port_of(gateway: Gateway) -> int:
    return int(gateway.url.rpartition(":")[2])


def test_it_serves_from_an_upstream_alone(run: Run) -> None:
    async def main() -> None:
        async with an_upstream() as upstream, Gateway(upstream=upstream.url) as gateway:
            assert gateway.url.startswith("http://127.0.0.1:")
            caller = await Caller.connect(port_of(gateway))
            for _ in range(50):
                assert (await caller.get("/x")).body == b"GET /x 0\n"
            assert upstream.connections_count == 1
            await caller.close()

    run(main())


def test_it_takes_a_mapping_or_a_file(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with an_upstream() as upstream:
            proxies = [{"name": "a", "path": "/a", "upstream": upstream.url}]
            path = tmp_path / "gateway.yaml"
            listeners = [{"address": "127.0.0.1:0"}]
            path.write_text(yaml.safe_dump({"listeners": listeners, "proxies": proxies}))
            for config in [{"proxies": proxies}, path, str(path)]:
                async with Gateway(config) as gateway:
                    caller = await Caller.connect(port_of(gateway))
                    assert (await caller.get("/a/b")).body == b"GET /b 0\n"
                    assert (await caller.get("/b")).status == 404
                    await caller.close()

    run(main())


def test_nothing_is_left_after_it(run: Run) -> None:
    async def main() -> None:
        async with an_upstream() as upstream:
            before = asyncio.all_tasks()
            async with Gateway(upstream=upstream.url) as gateway:
                port = port_of(gateway)
                callers = [await Caller.connect(port) for _ in range(10)]
                await asyncio.gather(*(caller.get("/x") for caller in callers))
                counts = gateway.counts()
                assert (counts["downstreams"], counts["exchanges"]) == (10, 0)
                assert counts["upstreams"] == counts["idle_upstreams"] > 0
            for caller in callers:
                assert await caller.ended() == b""
                await caller.close()
            await eventually(lambda: not upstream.open, "the end of the upstream connections")
            await eventually(
                lambda: (
                    {task for task in asyncio.all_tasks() - before if "accept" not in str(task)}
                    == set()
                ),
                "the end of the gateway's tasks",
            )
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0

    run(main())


def test_it_can_be_started_again(run: Run) -> None:
    async def main() -> None:
        async with an_upstream() as upstream:
            gateway = Gateway(upstream=upstream.url)
            for _ in range(3):
                async with gateway:
                    caller = await Caller.connect(port_of(gateway))
                    assert (await caller.get("/x")).status == 200
                    await caller.close()

    run(main())


def test_two_on_one_loop_do_not_mix(run: Run) -> None:
    async def main() -> None:
        async with an_upstream() as one, an_upstream() as two:

            async def second(_: Request, connection: UpstreamConnection) -> None:
                await connection.respond(200, b"two")

            two.on("/x", second)
            async with Gateway(upstream=one.url) as first, Gateway(upstream=two.url) as other:
                callers = [await Caller.connect(port_of(gateway)) for gateway in (first, other)]
                for _ in range(5):
                    bodies = [(await caller.get("/x")).body for caller in callers]
                    assert bodies == [b"GET /x 0\n", b"two"]
                for caller in callers:
                    await caller.close()
            assert (one.connections_count, two.connections_count) == (1, 1)

    run(main())


def test_what_is_under_way_is_finished_at_the_end(run: Run) -> None:
    async def main() -> None:
        async with an_upstream() as upstream:
            go = asyncio.Event()

            async def slow(_: Request, connection: UpstreamConnection) -> None:
                await go.wait()
                await connection.respond(200, b"finished")

            upstream.on("/slow", slow)
            gateway = Gateway(upstream=upstream.url)
            await gateway.start()
            caller = await Caller.connect(port_of(gateway))
            await caller.request("GET", "/slow")
            await eventually(lambda: upstream.requests, "the request")
            stopping = asyncio.ensure_future(gateway.stop())
            await asyncio.sleep(0.05)
            assert not stopping.done()
            go.set()
            response = await caller.response()
            assert (response.body, response.announces_close) == (b"finished", True)
            assert await caller.ended() == b""
            await stopping
            await caller.close()

    run(main())


def test_what_does_not_finish_is_cut_at_the_deadline(run: Run) -> None:
    async def main() -> None:
        async with an_upstream() as upstream:

            async def never(_: Request, connection: UpstreamConnection) -> None:
                await connection.ended()

            upstream.on("/never", never)
            proxies = [{"name": "a", "path": "/", "upstream": upstream.url}]
            gateway = Gateway({"proxies": proxies, "drain_timeout": 0.2})
            await gateway.start()
            caller = await Caller.connect(port_of(gateway))
            await caller.request("GET", "/never")
            await eventually(lambda: upstream.requests, "the request")
            await gateway.stop()
            await caller.ended()
            await caller.close()
            await eventually(lambda: not upstream.open, "the end of the upstream connection")

    run(main())


def test_it_counts(run: Run) -> None:
    async def main() -> None:
        async with an_upstream() as upstream, Gateway(upstream=upstream.url) as gateway:
            caller = await Caller.connect(port_of(gateway))
            for _ in range(7):
                await caller.get("/")
            families = {family[0]: family for family in gateway.metrics()}
            _, kind, _, labels, samples, _ = families["gateway_requests"]
            assert (kind, labels) == ("counter", ("proxy", "status"))
            assert sum(value for _, value in samples) == 7
            await caller.close()

    run(main())
