"""Every wait has an end, with its own status and reason; 0 has none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.http1 import Request
from tests.support.serving import settled
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, chunk

SHORT = 0.2


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue of connections is full: further ones are left without an answer."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]


async def test_dial(serve: Serve, connect: Connect, deaf_port: int) -> None:
    gateway = await serve(upstream=f"http://127.0.0.1:{deaf_port}", timeout={"dial": SHORT})
    caller = await connect(gateway)
    response = await caller.get("/")
    assert response.status == 504
    error = error_of(response)
    assert (error["error"], error["reason"]) == ("Gateway Timeout", "dial_timeout")
    assert "dial" in error["details"]
    samples = await gateway.metrics()
    assert samples.total("gateway_errors_total", type="dial_timeout") == 1


async def test_response_header(upstream: ScriptedUpstream, serve: Serve, connect: Connect) -> None:
    ended = asyncio.Event()

    async def silent(_: Request, connection: UpstreamConnection) -> None:
        await connection.ended()
        ended.set()

    upstream.on("/silent", silent)
    caller = await connect(await serve(timeout={"response_header": SHORT}))
    response = await caller.get("/silent")
    assert response.status == 504
    error = error_of(response)
    assert (error["error"], error["reason"]) == ("Gateway Timeout", "header_timeout")
    assert "response header" in error["details"]
    await ended.wait()
    assert (await caller.get("/next")).status == 200


async def test_response_header_runs_from_the_end_of_the_request(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(timeout={"response_header": SHORT}))
    await caller.send(b"POST /slow HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 5\r\n\r\n")
    for byte in b"hello":
        await asyncio.sleep(SHORT / 2)
        await caller.send(bytes([byte]))
    assert (await caller.response()).body == b"POST /slow 5\n"


async def test_half_a_response_head_is_none(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def dripping(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await asyncio.sleep(SHORT / 4)
            await connection.send(b"X-More: 1\r\n")

    upstream.on("/drip", dripping)
    caller = await connect(await serve(timeout={"response_header": SHORT}))
    response = await caller.get("/drip")
    assert response.status == 504
    assert error_of(response)["reason"] == "header_timeout"


async def test_response_header_of_0_waits(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    # Every other deadline passes meanwhile, and none of them is meant.
    others = {"dial": SHORT, "body_idle": SHORT, "idle": SHORT, "expect_continue": SHORT}

    async def thinking(_: Request, connection: UpstreamConnection) -> None:
        await asyncio.sleep(6 * SHORT)
        await connection.respond(200, b"42")

    upstream.on("/think", thinking)
    gateway = await serve(
        timeout={"response_header": 0, **others},
        downstream={
            "timeout": {
                "request_head": SHORT,
                "request_body_idle": SHORT,
                "keep_alive": SHORT,
                "write_idle": SHORT,
            }
        },
    )
    caller = await connect(gateway)
    assert (await caller.get("/think")).body == b"42"


async def test_response_body(upstream: ScriptedUpstream, serve: Serve, connect: Connect) -> None:
    async def stalling(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await connection.ended()

    upstream.on("/stall", stalling)
    gateway = await serve(timeout={"body_idle": SHORT})
    caller = await connect(gateway)
    response = await caller.get("/stall")
    assert (response.body, response.complete) == (b"hello", False)
    [record] = await gateway.access_log(1)
    assert (record["status_code"], record["error"]) == (200, "idle_timeout")


async def test_a_body_that_keeps_coming_is_not_idle(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def steady(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _piece in range(8):
            await asyncio.sleep(SHORT / 2)
            await connection.send(b"x")

    upstream.on("/steady", steady)
    caller = await connect(await serve(timeout={"body_idle": SHORT * 2}))
    assert (await caller.get("/steady")).body == b"x" * 8


async def test_request_head(upstream: ScriptedUpstream, serve: Serve, connect: Connect) -> None:
    caller = await connect(await serve(downstream={"timeout": {"request_head": SHORT}}))
    await caller.send(b"GET / HTTP/1.1\r\nHost: gw.test\r\n")
    response = await caller.response()
    assert (response.status, response.announces_close) == (408, True)
    assert error_of(response)["reason"] == "request_timeout"
    assert await caller.ended() == b""
    assert upstream.connections_count == 0


async def test_request_head_is_not_extended_by_bytes(serve: Serve, connect: Connect) -> None:
    caller = await connect(await serve(downstream={"timeout": {"request_head": SHORT}}))

    async def drip() -> None:
        await caller.send(b"GET / HTTP/1.1\r\nHost: gw.test\r\n")
        while True:
            await asyncio.sleep(SHORT / 8)
            await caller.send(b"X: 1\r\n")

    dripping = asyncio.ensure_future(drip())
    try:
        assert (await caller.response()).status == 408
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_connection_without_a_byte_is_closed_without_one(
    serve: Serve, connect: Connect
) -> None:
    timeout = {"request_head": SHORT, "keep_alive": SHORT}
    gateway = await serve(downstream={"timeout": timeout})
    caller = await connect(gateway)
    assert await caller.ended() == b""
    assert (await gateway.metrics()).total("gateway_requests_total") == 0


async def test_request_body(upstream: ScriptedUpstream, serve: Serve, connect: Connect) -> None:
    gateway = await serve(downstream={"timeout": {"request_body_idle": SHORT}})
    caller = await connect(gateway)
    await caller.send(b"POST / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 10\r\n\r\nhello")
    response = await caller.response()
    assert (response.status, response.announces_close) == (408, True)
    assert error_of(response)["reason"] == "request_timeout"
    assert await caller.ended() == b""


async def test_keep_alive(upstream: ScriptedUpstream, serve: Serve, connect: Connect) -> None:
    caller = await connect(await serve(downstream={"timeout": {"keep_alive": SHORT}}))
    for _ in range(3):
        await asyncio.sleep(SHORT / 2)
        assert (await caller.get("/")).status == 200
    assert await caller.ended() == b""


async def test_a_caller_that_takes_nothing_is_cut_off(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    ended = asyncio.Event()

    async def endless(_: Request, connection: UpstreamConnection) -> None:
        try:
            await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await connection.send(chunk(b"x" * 65536))
        except ConnectionError:
            ended.set()

    upstream.on("/endless", endless)
    gateway = await serve(downstream={"timeout": {"write_idle": SHORT}})
    caller = await connect(gateway, receive_buffer_bytes=4096)
    await caller.request("GET", "/endless")
    await ended.wait()
    [record] = await gateway.access_log(1)
    assert (record["status_code"], record["error"]) == (499, "client_stalled")


async def test_total_before_the_answer(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def silent(_: Request, connection: UpstreamConnection) -> None:
        await connection.ended()

    upstream.on("/silent", silent)
    caller = await connect(await serve(timeout={"total": SHORT}))
    response = await caller.get("/silent")
    assert response.status == 504
    assert error_of(response)["reason"] == "total_timeout"


async def test_total_within_the_answer(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def endless(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await connection.send(chunk(b"tick"))
            await asyncio.sleep(SHORT / 8)

    upstream.on("/endless", endless)
    gateway = await serve(timeout={"total": SHORT})
    caller = await connect(gateway)
    response = await caller.get("/endless")
    assert (response.status, response.complete) == (200, False)
    [record] = await gateway.access_log(1)
    assert record["error"] == "total_timeout"
    await caller.close()
    await settled(gateway)
