"""What the gateway answers itself: status, JSON, reason, the end of the connection, the log."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.http1 import Request
from tests.support.serving import settled
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, chunk
from tests.support.waiting import eventually

FIELD = "X: 1\r\n"
HEAD = "HTTP/1.1\r\nHost: gw.test\r\n"


@dataclass(frozen=True)
class Refused:
    """A request that the gateway answers itself, and how."""

    raw: str
    status: int
    error: str
    reason: str
    # None: as it likes, as long as it does what it says.
    closes: bool | None = True


REFUSED = {
    "no route": Refused(f"GET /else {HEAD}\r\n", 404, "Proxy Not Found", "no_route", closes=False),
    "bare LF": Refused(
        "GET /in HTTP/1.1\nHost: gw.test\r\n\r\n", 400, "Bad Request", "bad_request"
    ),
    "no host": Refused("GET /in HTTP/1.1\r\n\r\n", 400, "Bad Request", "bad_request"),
    "two framings": Refused(
        f"POST /in {HEAD}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "Bad Request",
        "bad_request",
    ),
    "body over the limit": Refused(
        f"POST /in {HEAD}Content-Length: 1001\r\n\r\n{'x' * 1001}",
        413,
        "Content Too Large",
        "body_too_large",
        closes=None,
    ),
    "target over the limit": Refused(
        f"GET /in/{'a' * 3000} {HEAD}\r\n", 414, "URI Too Long", "target_too_long"
    ),
    "head over the limit": Refused(
        f"GET /in {HEAD}X: {'a' * 5000}\r\n\r\n",
        431,
        "Request Header Fields Too Large",
        "head_too_large",
    ),
    "fields over the limit": Refused(
        f"GET /in {HEAD}{FIELD * 60}\r\n",
        431,
        "Request Header Fields Too Large",
        "head_too_large",
    ),
    "HTTP/2": Refused(
        "GET /in HTTP/2.0\r\nHost: gw.test\r\n\r\n",
        505,
        "HTTP Version Not Supported",
        "version_not_supported",
    ),
}

LIMITS = {"head": 4096, "target": 2048, "fields": 50}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
async def test_a_refusal(
    refused: Refused, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve(path="/in", request_body_max=1000, downstream={"limits": LIMITS})
    caller = await connect(gateway)
    await caller.send(refused.raw.encode())
    response = await caller.response()
    assert response.status == refused.status
    error = error_of(response)
    assert (error["error"], error["reason"]) == (refused.error, refused.reason)
    if refused.closes is not None:
        assert response.announces_close == refused.closes
    if response.announces_close:
        assert await caller.ended() == b""
    else:
        assert (await caller.get("/in")).status == 200
    [record, *_] = await gateway.access_log(1)
    assert record["status_code"] == refused.status
    assert record["error"] == refused.reason
    assert record["request_id"] == error["request_id"]
    await caller.close()
    samples = await settled(gateway)
    assert samples.total("gateway_errors_total", type=refused.reason) == 1
    assert samples.total("gateway_requests_total", status=str(refused.status)) == 1


async def test_a_refusal_names_the_callers_request_id(serve: Serve, connect: Connect) -> None:
    caller = await connect(await serve(path="/in"))
    response = await caller.get("/else", ("X-Request-Id", "req-4711"))
    assert error_of(response)["request_id"] == "req-4711"


async def test_head_is_refused_without_a_body(serve: Serve, connect: Connect) -> None:
    caller = await connect(await serve(path="/in"))
    response = await caller.ask("HEAD", "/else")
    assert (response.status, response.body) == (404, b"")
    assert response.value("X-Gateway-Reason") == b"no_route"
    assert int(response.value("Content-Length") or 0) > 0
    assert (await caller.get("/in")).status == 200


async def test_a_refused_body_that_came_with_its_head_is_not_a_request(
    serve: Serve, connect: Connect
) -> None:
    """What follows the head of a refused request is its body, whether or not anyone wants it."""
    caller = await connect(await serve(path="/in"))
    response = await caller.ask("POST", "/else", body=b"GET /in HTTP/1.1\r\nHost: gw.test\r\n\r\n")
    assert response.status == 404
    if not response.announces_close:
        assert (await caller.get("/in/next")).body == b"GET /next 0\n"
    else:
        assert await caller.ended() == b""


async def test_a_chunked_body_over_the_limit(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    received = 0

    async def collect(_: Request, connection: UpstreamConnection) -> None:
        nonlocal received
        async for piece in connection.body():
            received += len(piece)
        await connection.respond(200, b"whole")

    upstream.on("/", collect, stream=True)
    gateway = await serve(request_body_max=1000)
    caller = await connect(gateway)
    await caller.send(b"POST / HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n")
    await caller.send(chunk(b"x" * 900))
    await caller.send(chunk(b"x" * 900))
    response = await caller.response()
    assert response.status == 413
    assert error_of(response)["reason"] == "body_too_large"
    assert await caller.ended() == b""
    await settled(gateway)
    assert received <= 1000


async def test_a_body_at_the_limit_passes(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(request_body_max=1000))
    assert (await caller.ask("POST", "/", body=b"x" * 1000)).body == b"POST / 1000\n"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_methods_that_a_gateway_does_not_serve(
    method: str, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve())
    target = "gw.test:443" if method == "CONNECT" else "/"
    await caller.request(method, target)
    response = await caller.response()
    assert response.status == 501
    assert error_of(response)["reason"] == "not_implemented"
    assert not upstream.requests


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : 1\x00\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
async def test_an_ambiguous_answer_is_502(
    raw: bytes, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    ended = asyncio.Event()

    async def odd(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(raw)
        await connection.ended()
        ended.set()

    upstream.on("/odd", odd)
    gateway = await serve()
    caller = await connect(gateway)
    response = await caller.get("/odd")
    assert response.status == 502
    error = error_of(response)
    assert (error["error"], error["reason"]) == ("Upstream Unavailable", "bad_response")
    await ended.wait()
    assert (await caller.get("/next")).status == 200
    samples = await gateway.metrics()
    assert samples.total("gateway_errors_total", type="bad_response") == 1


async def test_the_limit_of_exchanges_is_exact(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    release = asyncio.Event()
    running = most = 0

    async def hold(_: Request, connection: UpstreamConnection) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        await connection.respond(200, b"held")

    upstream.on("/hold", hold)
    gateway = await serve(max_concurrent=10, retry_after=7)
    callers = [await connect(gateway) for _ in range(30)]
    for caller in callers:
        await caller.request("GET", "/hold")
    refused = []
    pending = [asyncio.ensure_future(caller.response()) for caller in callers]
    for done in asyncio.as_completed(pending):
        response = await done
        if response.status == 429:
            refused.append(response)
            error = error_of(response)
            assert (error["error"], error["reason"]) == ("Too Many Requests", "limit_reached")
            assert response.value("Retry-After") == b"7"
        if len(refused) == 20:
            break
    await eventually(lambda: running == 10, "ten exchanges upstream")
    samples = await gateway.metrics()
    assert samples.total("gateway_limiter_in_use") == samples.total("gateway_limiter_limit") == 10
    release.set()
    statuses = sorted(response.status for response in await asyncio.gather(*pending))
    assert statuses == [200] * 10 + [429] * 20
    assert most == 10
    assert samples.total("gateway_limiter_rejected_total") == 20
    assert (await callers[0].get("/free")).status == 200


async def test_errors_of_the_upstream_are_its_own(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    body = json.dumps({"mine": True}).encode()

    async def fail(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond(503, body, ("Content-Type", "application/json"))

    upstream.on("/fail", fail)
    gateway = await serve()
    caller = await connect(gateway)
    response = await caller.get("/fail")
    assert (response.status, response.body) == (503, body)
    assert response.value("X-Gateway-Reason") is None
    samples = await gateway.metrics()
    assert samples.total("gateway_errors_total", type="5xx") == 1


async def test_an_error_tells_no_secret(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    await upstream.stop()
    gateway = await serve(headers={"Authorization": "Bearer s3cret"})
    caller = await connect(gateway)
    response = await caller.get("/?token=hidden", ("Cookie", "session=hidden"))
    assert response.status == 502
    for secret in [b"s3cret", b"hidden", b"%d" % upstream.port]:
        assert secret not in response.head + response.body
