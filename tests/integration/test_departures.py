"""One side goes away in the middle: the other side learns it, and nothing is left."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.http1 import Request
from tests.support.serving import settled
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, chunk
from tests.support.waiting import eventually


@pytest.fixture
def cancelled(upstream: ScriptedUpstream) -> asyncio.Event:
    """Set once the gateway has given up a request for `/silent` or `/endless`."""
    seen = asyncio.Event()

    async def silent(_: Request, connection: UpstreamConnection) -> None:
        await connection.ended()
        seen.set()

    async def endless(_: Request, connection: UpstreamConnection) -> None:
        try:
            await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                await connection.send(chunk(b"x" * 1000))
                await asyncio.sleep(0.001)
        except ConnectionError:
            seen.set()

    upstream.on("/silent", silent)
    upstream.on("/endless", endless)
    return seen


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("path", ["/silent", "/endless"])
async def test_a_caller_that_leaves_cancels_the_upstream(
    how: str,
    path: str,
    upstream: ScriptedUpstream,
    serve: Serve,
    connect: Connect,
    cancelled: asyncio.Event,
) -> None:
    gateway = await serve(timeout={"response_header": 0})
    caller = await connect(gateway)
    await caller.request("GET", path)
    await eventually(lambda: upstream.requests, "the request")
    if path == "/endless":
        await caller.head()
    if how == "reset":
        caller.reset()
    elif how == "half-close":
        # To the other side it looks like a close, and waiting to find out would cost the upstream.
        caller.finish()
    else:
        await caller.close()
    await cancelled.wait()
    await caller.close()
    [record] = await gateway.access_log(1)
    assert (record["status_code"], record["error"]) == (499, "client_closed")
    samples = await settled(gateway)
    assert samples.total("gateway_requests_total", status="499") == 1
    assert samples.total("gateway_errors_total", type="client_closed") == 1


async def test_a_caller_that_leaves_within_its_request(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    lengths: list[int] = []

    async def collect(_: Request, connection: UpstreamConnection) -> None:
        received = 0
        try:
            async for piece in connection.body():
                received += len(piece)
        finally:
            lengths.append(received)

    upstream.on("/collect", collect, stream=True)
    gateway = await serve()
    caller = await connect(gateway)
    await caller.send(
        b"POST /collect HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000
    )
    await eventually(lambda: upstream.requests, "the request")
    caller.reset()
    await eventually(lambda: lengths, "the end of the cut request")
    assert lengths[0] <= 50_000
    await settled(gateway)


async def test_a_caller_that_leaves_between_requests_is_no_error(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve()
    caller = await connect(gateway)
    await caller.get("/")
    await caller.close()
    samples = await settled(gateway)
    assert samples.total("gateway_errors_total") == 0
    assert samples.total("gateway_requests_total") == 1


# --- the upstream goes away ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"])
async def test_an_upstream_that_leaves_before_its_answer(
    how: str, sent: bytes, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def leave(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(sent)
        if how == "reset":
            connection.reset()
        else:
            connection.close()

    upstream.on("/leave", leave)
    caller = await connect(await serve())
    response = await caller.ask("POST", "/leave", body=b"x")
    assert response.status == 502
    error = error_of(response)
    assert error["error"] == "Upstream Unavailable"
    assert error["reason"] == "upstream_reset"
    assert (await caller.get("/next")).status == 200


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
async def test_a_response_cut_short_looks_cut_short(
    how: str, sent: bytes, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    go = asyncio.Event()

    async def leave(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(sent)
        await go.wait()
        if how == "reset":
            connection.reset()
        else:
            connection.close()

    upstream.on("/leave", leave)
    gateway = await serve()
    caller = await connect(gateway)
    await caller.request("GET", "/leave")
    head = await caller.head()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"hello" in await caller.until(b"hello")
    go.set()
    rest = await caller.ended()
    assert b"0\r\n" not in rest
    [record] = await gateway.access_log(1)
    assert (record["status_code"], record["error"]) == (200, "upstream_truncated")
    samples = await gateway.metrics()
    assert samples.total("gateway_errors_total", type="upstream_truncated") == 1


async def test_an_http10_caller_sees_the_cut_as_a_reset(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    """Its body ends with the connection, so an ordinary close would look like the whole of it."""
    go = asyncio.Event()

    async def leave(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        )
        await go.wait()
        connection.close()

    upstream.on("/leave", leave)
    gateway = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /leave HTTP/1.0\r\nHost: gw.test\r\n\r\n")
    await reader.readuntil(b"hello")
    go.set()
    with pytest.raises(ConnectionResetError):
        await reader.read(-1)
    writer.close()


async def test_an_upstream_that_is_not_there(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    await upstream.stop()
    caller = await connect(await serve())
    response = await caller.get("/")
    assert response.status == 502
    error = error_of(response)
    assert (error["error"], error["reason"]) == ("Upstream Unavailable", "dial_failed")


async def test_an_upstream_that_comes_back_is_used(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve()
    caller = await connect(gateway)
    assert (await caller.get("/")).status == 200
    port = upstream.port
    await upstream.stop()
    await eventually(lambda: not upstream.open, "the end of the pooled connection")
    assert (await caller.get("/")).status == 502
    await upstream.start(port)
    assert (await caller.get("/")).status == 200
