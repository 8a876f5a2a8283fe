"""Connections are reused when that is safe, and only then."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.http1 import Request
from tests.support.serving import settled
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, echo
from tests.support.waiting import eventually


async def test_a_hundred_requests_use_one_upstream_connection(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve()
    for number in range(100):
        # A caller's connection each: what is reused is the upstream's.
        caller = await connect(gateway)
        assert (await caller.get(f"/{number}")).status == 200
        await caller.close()
    assert upstream.connections_count == 1
    samples = await settled(gateway)
    assert samples.total("gateway_upstream_connects_total") == 1
    assert samples.total("gateway_upstream_reuse_total") == 99


async def test_a_callers_connection_is_kept(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve()
    before = (await gateway.metrics()).total("gateway_downstream_connections_accepted_total")
    caller = await connect(gateway)
    for number in range(100):
        response = await caller.get(f"/{number}")
        assert response.body == b"GET /%d 0\n" % number
        assert not response.announces_close
    after = (await gateway.metrics()).total("gateway_downstream_connections_accepted_total")
    assert after - before == 1


async def test_a_caller_that_asks_for_it_is_closed(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve())
    response = await caller.get("/", ("Connection", "close"))
    assert (response.status, response.announces_close) == (200, True)
    assert await caller.ended() == b""


async def test_pipelined_requests_are_answered_in_order(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    release = asyncio.Event()

    async def slow(request: Request, connection: UpstreamConnection) -> None:
        await release.wait()
        await connection.respond(200, b"slow " + request.body)

    upstream.on("/slow", slow)
    caller = await connect(await serve())
    await caller.request("POST", "/slow", body=b"one")
    await caller.request("GET", "/two")
    await caller.request("POST", "/three", body=b"3")
    await caller.request("GET", "/four")
    await eventually(lambda: upstream.requests, "the first request")
    release.set()
    bodies = [(await caller.response()).body for _ in range(4)]
    assert bodies == [b"slow one", b"GET /two 0\n", b"POST /three 1\n", b"GET /four 0\n"]


async def test_an_upstream_connection_serves_one_exchange_at_a_time(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    everyone = asyncio.Barrier(10)

    async def together(_: Request, connection: UpstreamConnection) -> None:
        await everyone.wait()
        await connection.respond(200, b"%d" % connection.number)

    upstream.on("/together", together)
    gateway = await serve()
    callers = [await connect(gateway) for _ in range(10)]
    responses = await asyncio.gather(*(caller.get("/together") for caller in callers))
    assert len({response.body for response in responses}) == 10
    assert upstream.connections_count == 10


# --- what is kept, and for how long --------------------------------------------------------------


async def _hold_together(upstream: ScriptedUpstream, count: int) -> None:
    everyone = asyncio.Barrier(count)

    async def together(_: Request, connection: UpstreamConnection) -> None:
        await everyone.wait()
        await connection.respond(200, b"x")

    upstream.on("/together", together)


async def test_no_more_than_so_many_idle_connections_are_kept(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    await _hold_together(upstream, 8)
    gateway = await serve(upstream_pool={"idle_max": 100, "idle_per_host_max": 3})
    callers = [await connect(gateway) for _ in range(8)]
    await asyncio.gather(*(caller.get("/together") for caller in callers))
    await eventually(lambda: len(upstream.open) == 3, "three connections left")
    samples = await gateway.metrics()
    assert samples.total("gateway_upstream_connections", state="idle") == 3


async def test_a_pool_of_none_keeps_none(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve(upstream_pool={"idle_max": 0})
    caller = await connect(gateway)
    for _ in range(3):
        await caller.get("/")
    assert upstream.connections_count == 3
    await eventually(lambda: not upstream.open, "the end of all connections")


async def test_an_idle_connection_is_closed_in_time(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve(timeout={"idle": 0.2})
    caller = await connect(gateway)
    await caller.get("/")
    assert len(upstream.open) == 1
    await eventually(lambda: not upstream.open, "the close of the idle connection")
    samples = await gateway.metrics()
    assert samples.total("gateway_upstream_connections") == 0
    assert (await caller.get("/again")).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokSURPLUS",
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_kept(
    raw: bytes, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def handler(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(raw)

    upstream.on("/last", handler)
    caller = await connect(await serve())
    for _ in range(3):
        assert (await caller.get("/last")).body == b"ok"
    assert upstream.connections_count == 3
    await eventually(lambda: not upstream.open, "the close by the gateway")


async def test_a_connection_that_the_upstream_closed_is_not_used(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def handler(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond(200, b"ok")
        connection.close()

    upstream.on("/close", handler)
    gateway = await serve()
    caller = await connect(gateway)
    for _ in range(10):
        assert (await caller.get("/close")).status == 200
        await eventually(lambda: not upstream.open, "the close by the upstream")
    samples = await gateway.metrics()
    assert samples.total("gateway_errors_total") == 0


# --- the race that every pool has ----------------------------------------------------------------


def _close_when_reused(upstream: ScriptedUpstream) -> None:
    """The first request of a connection is answered; the second finds it closing."""
    served: set[int] = set()

    async def handler(request: Request, connection: UpstreamConnection) -> None:
        if connection.number in served:
            connection.reset()
        else:
            served.add(connection.number)
            await echo(request, connection)

    upstream.on("/once", handler)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_a_late_close_is_retried_once_when_that_is_safe(
    method: str, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    _close_when_reused(upstream)
    gateway = await serve()
    caller = await connect(gateway)
    assert (await caller.get("/once")).status == 200
    assert (await caller.ask(method, "/once")).status == 200
    samples = await gateway.metrics()
    assert samples.total("gateway_retries_total") == 1
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_is_not_idempotent_is_never_sent_twice(
    method: str, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    _close_when_reused(upstream)
    gateway = await serve()
    caller = await connect(gateway)
    assert (await caller.get("/once")).status == 200
    response = await caller.ask(method, "/once", body=b"hello")
    assert response.status == 502
    assert error_of(response)["reason"] == "upstream_reset"
    assert [request.method for request in upstream.requests] == [b"GET", method.encode()]
    assert (await gateway.metrics()).total("gateway_retries_total") == 0


async def test_a_fresh_connection_that_fails_is_not_retried(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def handler(_: Request, connection: UpstreamConnection) -> None:
        connection.reset()

    upstream.on("/never", handler)
    caller = await connect(await serve())
    response = await caller.get("/never")
    assert response.status == 502
    assert len(upstream.requests) == 1


async def test_a_second_failure_is_the_last(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def handler(_: Request, connection: UpstreamConnection) -> None:
        connection.reset()

    upstream.on("/twice", handler)
    gateway = await serve()
    await _hold_together(upstream, 2)
    callers = [await connect(gateway) for _ in range(2)]
    await asyncio.gather(*(caller.get("/together") for caller in callers))
    response = await callers[0].get("/twice")
    assert response.status == 502
    assert error_of(response)["reason"] == "upstream_reset"
    assert sum(request.target == b"/twice" for request in upstream.requests) == 2
