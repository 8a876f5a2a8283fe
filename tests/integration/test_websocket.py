"""Upgrades: refused kindly, or a tunnel for real WebSocket peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosedOK, InvalidStatus

from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.http1 import Request
from tests.support.serving import settled
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.waiting import eventually

UPGRADE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)


@pytest.fixture
async def echo_server() -> AsyncIterator[Server]:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve_websocket(echo, "127.0.0.1", 0, max_size=None, compression=None) as server:
        yield server


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_upgrade_is_refused_kindly(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve()
    caller = await connect(gateway)
    response = await caller.get("/chat", *UPGRADE)
    assert response.status == 501
    error = error_of(response)
    assert error["reason"] == "upgrade_not_allowed"
    assert "websocket" in error["details"].lower()
    assert not upstream.requests
    with pytest.raises(InvalidStatus) as refused:
        async with open_websocket(f"ws://127.0.0.1:{gateway.port}/chat"):
            pass
    assert refused.value.response.status_code == 501


async def test_messages_pass_both_ways(serve: Serve, echo_server: Server) -> None:
    gateway = await serve(websocket=True, upstream=url_of(echo_server))
    async with open_websocket(
        f"ws://127.0.0.1:{gateway.port}/chat", max_size=None, compression=None
    ) as websocket:
        for message in ["hello", "", "caf\xe9", b"\x00\xff", "x" * 70_000]:
            await websocket.send(message)
            assert await websocket.recv() == message
        for number in range(500):
            await websocket.send(str(number))
        assert [await websocket.recv() for _ in range(500)] == [str(n) for n in range(500)]
    samples = await settled(gateway)
    assert samples.total("gateway_requests_total", status="101") == 1


async def test_a_large_message_passes_whole(serve: Serve, echo_server: Server) -> None:
    message = bytes(range(256)) * 4096 * 8  # 8 MiB
    gateway = await serve(websocket=True, upstream=url_of(echo_server))
    async with open_websocket(
        f"ws://127.0.0.1:{gateway.port}/", max_size=None, compression=None
    ) as websocket:
        await websocket.send(message)
        assert await websocket.recv() == message


async def test_a_close_of_either_side_reaches_the_other(serve: Serve) -> None:
    async def close_soon(connection: ServerConnection) -> None:
        await connection.send("bye")
        await connection.close(1000, "done")

    async with serve_websocket(close_soon, "127.0.0.1", 0) as server:
        gateway = await serve(websocket=True, upstream=url_of(server))
        async with open_websocket(f"ws://127.0.0.1:{gateway.port}/") as websocket:
            assert await websocket.recv() == "bye"
            with pytest.raises(ConnectionClosedOK) as closed:
                await websocket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "done")
        await settled(gateway)


async def test_a_caller_that_vanishes_ends_the_tunnel(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    ended = asyncio.Event()

    async def accept(request: Request, connection: UpstreamConnection) -> None:
        assert request.value("Upgrade") == b"websocket"
        await connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nraw-"
        )
        assert await connection.reader.readexactly(4) == b"ping"
        await connection.send(b"pong")
        await connection.ended()
        ended.set()
        connection.close()

    upstream.on("/raw", accept)
    gateway = await serve(websocket=True)
    caller = await connect(gateway)
    await caller.request("GET", "/raw", *UPGRADE)
    head = await caller.head()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert b"upgrade: websocket\r\n" in head.lower()
    assert await caller.until(b"raw-") == b"raw-"
    await caller.send(b"ping")
    assert await caller.until(b"pong") == b"pong"
    samples = await gateway.metrics()
    assert samples.total("gateway_active_connections") == 1
    caller.reset()
    await ended.wait()
    await settled(gateway)


async def test_an_upstream_may_decline(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def decline(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond(403, b"no", reason="Forbidden")

    upstream.on("/chat", decline)
    caller = await connect(await serve(websocket=True))
    response = await caller.get("/chat", *UPGRADE)
    assert (response.status, response.body) == (403, b"no")
    assert response.value("Upgrade") is None
    assert (await caller.get("/after")).status == 200


async def test_an_idle_tunnel_is_closed(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def accept(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        await connection.ended()
        connection.close()

    upstream.on("/idle", accept)
    caller = await connect(await serve(websocket=True, timeout={"tunnel_idle": 0.2}))
    await caller.request("GET", "/idle", *UPGRADE)
    await caller.head()
    assert await caller.ended() == b""
    await eventually(lambda: not upstream.open, "the end of the tunnel upstream")
