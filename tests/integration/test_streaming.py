"""Nothing waits for more: every piece goes on as it comes, in both directions.

These tests hold the next piece back until the last one has arrived on the other side. A gateway
that gathered pieces would leave them waiting for ever.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, chunk

EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


class Steps:
    """Lets the writer take the next step once the reader has seen the last one."""

    def __init__(self) -> None:
        self._allowed = asyncio.Semaphore(0)

    async def wait(self) -> None:
        await self._allowed.acquire()

    def allow(self) -> None:
        self._allowed.release()


@pytest.mark.parametrize("framing", ["chunked", "until close", "length"])
async def test_events_arrive_one_by_one(
    framing: str, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    events = [b"id: %d\ndata: %s\n\n" % (number, b"x" * number) for number in range(200)]
    steps = Steps()

    async def stream(_: Request, connection: UpstreamConnection) -> None:
        field = {
            "chunked": b"Transfer-Encoding: chunked\r\n",
            "until close": b"Connection: close\r\n",
            "length": b"Content-Length: %d\r\n" % sum(map(len, events)),
        }[framing]
        await connection.send(EVENT_STREAM + field + b"\r\n")
        for event in events:
            await steps.wait()
            await connection.send(chunk(event) if framing == "chunked" else event)
        if framing == "chunked":
            await connection.send(b"0\r\n\r\n")
        if framing == "until close":
            connection.close()

    upstream.on("/events", stream)
    caller = await connect(await serve())
    await caller.request("GET", "/events", ("Accept", "text/event-stream"))
    head = await caller.head()
    chunked = b"transfer-encoding: chunked" in head.lower()
    assert chunked == (framing != "length")
    for event in events:
        steps.allow()
        expected = chunk(event) if chunked else event
        assert await caller.until(expected) == expected
    if chunked:
        assert await caller.until(b"0\r\n\r\n") == b"0\r\n\r\n"


async def test_the_head_does_not_wait_for_the_body(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    steps = Steps()

    async def late_body(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        await steps.wait()
        await connection.send(b"late")

    upstream.on("/late", late_body)
    caller = await connect(await serve())
    await caller.request("GET", "/late")
    assert (await caller.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    steps.allow()
    assert await caller.until(b"late") == b"late"


async def test_an_event_cut_in_two_is_not_held_back(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    """Half a chunk is sent on although its end has not come."""
    steps = Steps()

    async def halves(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(EVENT_STREAM + b"Transfer-Encoding: chunked\r\n\r\nc\r\ndata: ")
        await steps.wait()
        await connection.send(b"whole\n\r\n0\r\n\r\n")

    upstream.on("/halves", halves)
    caller = await connect(await serve())
    await caller.request("GET", "/halves")
    await caller.head()
    assert (await caller.until(b"data: ")).endswith(b"data: ")
    steps.allow()
    rest = await caller.until(b"0\r\n\r\n")
    assert b"whole\n" in rest


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_a_request_body_goes_on_piece_by_piece(
    framing: str, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    pieces = [b"piece %03d;" % number for number in range(100)]
    steps = Steps()
    received = bytearray()

    async def collect(_: Request, connection: UpstreamConnection) -> None:
        async for piece in connection.body():
            received.extend(piece)
            for _whole in range(piece.count(b";")):
                steps.allow()
        await connection.respond(200, b"%d" % len(received))

    upstream.on("/collect", collect, stream=True)
    caller = await connect(await serve())
    field = (
        b"Transfer-Encoding: chunked"
        if framing == "chunked"
        else b"Content-Length: %d" % sum(map(len, pieces))
    )
    await caller.send(b"POST /collect HTTP/1.1\r\nHost: gw.test\r\n" + field + b"\r\n\r\n")
    for piece in pieces:
        await caller.send(chunk(piece) if framing == "chunked" else piece)
        await steps.wait()
    if framing == "chunked":
        await caller.send(b"0\r\n\r\n")
    assert (await caller.response()).body == b"1000"
    assert received == b"".join(pieces)


async def test_both_directions_flow_at_once(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def mirror(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for piece in connection.body():
            await connection.send(chunk(piece.upper()))
        await connection.send(b"0\r\n\r\n")

    upstream.on("/mirror", mirror, stream=True)
    caller = await connect(await serve())
    await caller.send(b"POST /mirror HTTP/1.1\r\nHost: gw.test\r\n")
    await caller.send(b"Transfer-Encoding: chunked\r\n\r\n")
    await caller.head()
    for number in range(50):
        await caller.send(chunk(b"ping %d" % number))
        assert await caller.until(chunk(b"PING %d" % number)) == chunk(b"PING %d" % number)
    await caller.send(b"0\r\n\r\n")
    assert await caller.until(b"0\r\n\r\n") == b"0\r\n\r\n"
    assert (await caller.get("/after")).status == 200


async def test_many_streams_do_not_hold_each_other_up(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    steps = [Steps() for _ in range(20)]

    async def stream(request: Request, connection: UpstreamConnection) -> None:
        own = steps[int(request.target.rpartition(b"=")[2])]
        await connection.send(EVENT_STREAM + b"Transfer-Encoding: chunked\r\n\r\n")
        for number in range(10):
            await own.wait()
            await connection.send(chunk(b"data: %d\n\n" % number))
        await connection.send(b"0\r\n\r\n")

    upstream.on("/events", stream)
    gateway = await serve()
    callers = [await connect(gateway) for _ in steps]
    for index, caller in enumerate(callers):
        await caller.request("GET", f"/events?stream={index}")
        await caller.head()
    for number in range(10):
        for own, caller in zip(steps, callers, strict=True):
            own.allow()
            event = chunk(b"data: %d\n\n" % number)
            assert await caller.until(event) == event
    for caller in callers:
        assert await caller.until(b"0\r\n\r\n") == b"0\r\n\r\n"
