"""Framing end to end: messages without bodies, interim answers, expectations, old versions."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.http1 import Request
from tests.support.serving import settled
from tests.support.upstream import Handler, ScriptedUpstream, UpstreamConnection, chunk


def answer_with(raw: bytes, *, close: bool = False) -> Handler:
    """A handler that writes these bytes."""

    async def handler(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(raw)
        if close:
            connection.close()

    return handler


# --- bodies that are not there -------------------------------------------------------------------


async def test_head_has_the_length_and_no_body(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/h", answer_with(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
    caller = await connect(await serve())
    for _ in range(3):
        response = await caller.ask("HEAD", "/h")
        assert (response.status, response.value("Content-Length")) == (200, b"1000")
    assert (await caller.get("/after")).body == b"GET /after 0\n"
    assert upstream.connections_count == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 204 No Content\r\nX-Own: 1\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\nX-Own: 1\r\nETag: "a"\r\n\r\n',
        b'HTTP/1.1 304 Not Modified\r\nX-Own: 1\r\nContent-Length: 99\r\nETag: "a"\r\n\r\n',
        b"HTTP/1.1 200 OK\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_response_without_a_body_leaves_both_connections_usable(
    raw: bytes, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/none", answer_with(raw))
    caller = await connect(await serve())
    for _ in range(3):
        response = await caller.get("/none")
        assert response.status == int(raw.split()[1])
        assert (response.body, response.value("X-Own")) == (b"", b"1")
    assert (await caller.get("/after")).status == 200
    assert upstream.connections_count == 1


async def test_a_204_never_has_a_length(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/none", answer_with(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"))
    caller = await connect(await serve())
    response = await caller.get("/none")
    assert (response.status, response.value("Content-Length")) == (204, None)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_empty_body_is_announced_as_empty(
    method: str, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve())
    await caller.ask(method, "/", body=b"")
    assert upstream.requests[0].values("Content-Length") == [b"0"]


# --- chunks and trailers -------------------------------------------------------------------------


async def test_a_chunked_request_arrives_whole_with_its_trailers(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    trailers = b""

    async def handler(request: Request, connection: UpstreamConnection) -> None:
        nonlocal trailers
        body = b"".join([piece async for piece in connection.body()])
        trailers = connection.trailers
        await connection.respond(200, body)

    upstream.on("/c", handler, stream=True)
    caller = await connect(await serve())
    await caller.send(
        b"POST /c HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"5;ext=1\r\nhello\r\n006\r\n world\r\n0\r\nX-Sum: 11\r\nAuthorization: no\r\n\r\n"
    )
    assert (await caller.response()).body == b"hello world"
    assert upstream.requests[0].values("Transfer-Encoding") == [b"chunked"]
    assert trailers == b"X-Sum: 11\r\n"


async def test_a_chunked_response_arrives_whole_with_its_trailers(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def handler(_: Request, connection: UpstreamConnection) -> None:
        trailers = b"X-Sum: 11\r\nSet-Cookie: no\r\n"
        await connection.respond_chunked(b"hello", b" world", trailers=trailers)

    upstream.on("/c", handler)
    caller = await connect(await serve())
    for _ in range(3):
        response = await caller.get("/c")
        assert (response.body, response.framing) == (b"hello world", "chunked")
        assert response.trailers == b"X-Sum: 11\r\n"
    assert upstream.connections_count == 1


# --- interim answers -----------------------------------------------------------------------------


async def test_early_hints_are_passed_on_as_they_come(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    seen = asyncio.Event()

    async def handler(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        await seen.wait()
        await connection.respond(200, b"done")

    upstream.on("/hints", handler)
    caller = await connect(await serve())
    await caller.request("GET", "/hints")
    hint = await caller.response()
    assert (hint.status, hint.value("Link")) == (103, b"</a.css>; rel=preload")
    seen.set()
    assert (await caller.response()).body == b"done"


async def test_an_http10_caller_gets_no_interim_answers(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    raw = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    upstream.on("/hints", answer_with(raw))
    caller = await connect(await serve())
    await caller.send(b"GET /hints HTTP/1.0\r\nHost: gw.test\r\n\r\n")
    response = await caller.response()
    assert (response.status, response.body) == (200, b"ok")
    assert await caller.ended() == b""


# --- expectations --------------------------------------------------------------------------------

EXPECTING = (
    b"POST /e HTTP/1.1\r\nHost: gw.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
)


async def test_the_upstreams_100_lets_the_body_come(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def handler(request: Request, connection: UpstreamConnection) -> None:
        assert request.value("Expect") == b"100-continue"
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b"".join([piece async for piece in connection.body()])
        await connection.respond(200, body)

    upstream.on("/e", handler, stream=True)
    # The upstream's own word comes first: the gateway's is an hour away.
    caller = await connect(await serve(timeout={"expect_continue": 3600}))
    await caller.send(EXPECTING)
    assert (await caller.response()).status == 100
    await caller.send(b"hello")
    assert (await caller.response()).body == b"hello"


async def test_a_refusal_comes_before_the_body(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def handler(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond(401, b"who?", reason="Unauthorized")
        connection.close()

    upstream.on("/e", handler, stream=True)
    caller = await connect(await serve(timeout={"expect_continue": 3600}))
    await caller.send(EXPECTING)
    response = await caller.response()
    assert (response.status, response.body) == (401, b"who?")


async def test_a_silent_upstream_gets_the_body_all_the_same(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(timeout={"expect_continue": 0.1}))
    await caller.send(EXPECTING)
    assert (await caller.response()).status == 100
    await caller.send(b"hello")
    assert (await caller.response()).body == b"POST /e 5\n"


async def test_a_caller_that_does_not_wait_is_served(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(timeout={"expect_continue": 3600}))
    await caller.send(EXPECTING + b"hello")
    while (response := await caller.response()).status == 100:
        continue
    assert response.body == b"POST /e 5\n"


async def test_an_unknown_expectation_is_417(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve())
    response = await caller.ask("POST", "/", ("Expect", "200-ok"), body=b"")
    assert response.status == 417
    assert error_of(response)["reason"] == "expectation_failed"


# --- other versions ------------------------------------------------------------------------------


async def test_an_http10_caller_gets_a_body_that_ends_with_the_connection(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def handler(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond_chunked(b"hello", b" world")

    upstream.on("/c", handler)
    caller = await connect(await serve())
    await caller.send(b"GET /c HTTP/1.0\r\nHost: gw.test\r\n\r\n")
    response = await caller.response()
    assert (response.body, response.framing) == (b"hello world", "close")
    assert response.value("Transfer-Encoding") is None


async def test_an_http10_caller_may_keep_its_connection(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve())
    for _ in range(3):
        await caller.send(b"GET /k HTTP/1.0\r\nHost: gw.test\r\nConnection: keep-alive\r\n\r\n")
        response = await caller.response()
        assert (response.status, response.value("Connection")) == (200, b"keep-alive")
    await caller.send(b"GET /k HTTP/1.0\r\n\r\n")
    assert (await caller.response()).status == 200
    assert await caller.ended() == b""


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_body_until_the_close_is_whole_for_the_caller(
    version: bytes, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    raw = b"HTTP/%s 200 OK\r\nContent-Type: text/plain\r\n\r\nhello" % version
    upstream.on("/old", answer_with(raw, close=True))
    gateway = await serve()
    caller = await connect(gateway)
    for _ in range(2):
        response = await caller.get("/old")
        assert (response.body, response.complete, response.framing) == (b"hello", True, "chunked")
    assert upstream.connections_count == 2
    await caller.close()
    assert (await settled(gateway)).total("gateway_errors_total") == 0


@pytest.mark.parametrize(
    ("head", "oddities"),
    [
        (b"HTTP/1.1 200\r\nContent-Length: 5", 1),
        # RFC 9112 section 4: the reason may be empty, its space may not be missing.
        (b"HTTP/1.1 200 \r\nContent-Length: 5", 0),
        (b"HTTP/1.1 799 Own\r\nContent-Length: 5", 1),
        (b"HTTP/1.0 200 OK", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5", 0),
    ],
)
async def test_harmless_oddities_are_passed_on_and_counted(
    head: bytes, oddities: int, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/odd", answer_with(head + b"\r\n\r\nhello", close=True))
    gateway = await serve()
    caller = await connect(gateway)
    response = await caller.get("/odd")
    assert (response.status, response.body) == (int(head.split()[1]), b"hello")
    samples = await gateway.metrics()
    assert samples.total("gateway_upstream_oddities_total") == oddities
    assert samples.total("gateway_errors_total", type="bad_response") == 0


async def test_an_early_answer_ends_the_exchange(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    ended = asyncio.Event()

    async def handler(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond(413, b"", ("Connection", "close"))
        await connection.ended()
        ended.set()

    upstream.on("/early", handler, stream=True)
    caller = await connect(await serve())
    await caller.send(
        b"POST /early HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x")
    )
    assert (await caller.response()).status == 413
    # The rest of the request does not go anywhere, and nobody waits for it.
    await ended.wait()
