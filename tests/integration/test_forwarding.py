"""Requests reach the right upstream with the right target, fields and body; so do responses."""

from __future__ import annotations

import re

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, echo


async def test_a_get_and_its_answer(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve())
    response = await caller.get("/a/b?x=1&y=%20z")
    assert (response.status, response.reason) == (200, b"OK")
    assert response.body == b"GET /a/b?x=1&y=%20z 0\n"
    [request] = upstream.requests
    assert (request.method, request.target) == (b"GET", b"/a/b?x=1&y=%20z")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
async def test_a_body_arrives_byte_for_byte(
    method: str, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    body = bytes(range(256)) * 50
    caller = await connect(await serve())
    response = await caller.ask(method, "/body", body=body)
    assert response.status == 200
    [request] = upstream.requests
    assert request.method == method.encode()
    assert request.body == body
    assert request.value("Content-Length") == b"12800"


async def test_a_response_body_arrives_byte_for_byte(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    body = bytes(range(256)) * 500

    async def answer(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond(200, body, ("Content-Type", "application/octet-stream"))

    upstream.on("/bytes", answer)
    caller = await connect(await serve())
    response = await caller.get("/bytes")
    assert response.body == body
    assert response.value("Content-Length") == b"128000"


@pytest.mark.parametrize("status", [200, 201, 299, 301, 304, 400, 404, 418, 500, 503, 599])
async def test_the_status_and_reason_of_the_upstream_are_passed_on(
    status: int, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def answer(_: Request, connection: UpstreamConnection) -> None:
        body = b"" if status == 304 else b"x"
        await connection.respond(status, body, ("X-Own", "kept"), reason="As It Was")

    upstream.on("/status", answer)
    caller = await connect(await serve())
    response = await caller.get("/status")
    assert (response.status, response.reason) == (status, b"As It Was")
    assert response.value("X-Own") == b"kept"
    assert response.value("X-Gateway-Reason") is None


# --- routes --------------------------------------------------------------------------------------


def _proxy(
    name: str, path: str, upstream: ScriptedUpstream, **options: object
) -> dict[str, object]:
    tag = {"headers": {"X-Route": name}}
    return {"name": name, "path": path, "upstream": upstream.url, **tag, **options}


async def test_the_longest_prefix_wins_and_is_stripped(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    proxies = [
        _proxy("short", "/api", upstream),
        _proxy("long", "/api/proxy/sidecar", upstream),
        _proxy("whole", "/kept", upstream, strip_path=False),
    ]
    caller = await connect(await serve(config={"proxies": proxies}))
    asked = ["/api/x", "/api/proxy/sidecar/v1?q", "/api/proxy/sidecar", "/api/proxy", "/kept/y"]
    for target in asked:
        assert (await caller.get(target)).status == 200
    seen = [(request.value("X-Route"), request.target) for request in upstream.requests]
    assert seen == [
        (b"short", b"/x"),
        (b"long", b"/v1?q"),
        (b"long", b"/"),
        (b"short", b"/proxy"),
        (b"whole", b"/kept/y"),
    ]
    assert error_of(await caller.get("/apix"))["reason"] == "no_route"


async def test_a_host_narrows_a_route(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    proxies = [_proxy("any", "/", upstream), _proxy("named", "/", upstream, host="a.test")]
    caller = await connect(await serve(config={"proxies": proxies}))
    for host in ["b.test", "a.test", "A.TEST:8080"]:
        await caller.ask("GET", "/", host=host)
    assert [r.value("X-Route") for r in upstream.requests] == [b"any", b"named", b"named"]


async def test_the_base_path_of_the_upstream_is_put_before(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(path="/in", upstream=f"{upstream.url}/base/v2"))
    for target in ["/in/x?y", "/in"]:
        await caller.get(target)
    assert [request.target for request in upstream.requests] == [b"/base/v2/x?y", b"/base/v2/"]


async def test_an_inactive_proxy_is_not_there(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(active=False))
    response = await caller.get("/")
    assert response.status == 404
    assert error_of(response)["error"] == "Proxy Not Found"
    assert upstream.connections_count == 0


# --- request fields ------------------------------------------------------------------------------


async def test_the_host_is_the_upstreams_own(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve())
    await caller.ask("GET", "/", host="api.example.com:8443")
    [request] = upstream.requests
    assert request.values("Host") == [upstream.authority]
    assert request.values("X-Forwarded-Host") == [b"api.example.com:8443"]


async def test_the_host_of_the_caller_can_be_passed(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(pass_host=True))
    await caller.ask("GET", "/", host="api.example.com:8443")
    assert upstream.requests[0].values("Host") == [b"api.example.com:8443"]


async def test_who_called_is_told_and_cannot_be_forged(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve())
    await caller.get(
        "/",
        ("X-Forwarded-For", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Port", "1"),
        ("X-Real-IP", "10.0.0.1"),
        ("Forwarded", "for=10.0.0.1"),
        ("X_Forwarded_For", "10.0.0.1"),
    )
    [request] = upstream.requests
    assert request.values("X-Forwarded-For") == [b"127.0.0.1"]
    assert request.values("X-Forwarded-Proto") == [b"http"]
    assert request.values("X-Forwarded-Host") == [b"gw.test"]
    assert b"10.0.0." not in request.head
    assert b"evil" not in request.head


async def test_hop_by_hop_fields_stop_here(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def answer(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond(
            200,
            b"x",
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Upgrade", "h2c"),
            ("X-End", "1"),
        )

    upstream.on("/", answer)
    caller = await connect(await serve())
    response = await caller.get(
        "/",
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "gzip"),
        ("Upgrade", "h2c"),
        ("X-End", "1"),
    )
    [request] = upstream.requests
    for message in (request, response):
        for name in ["Connection", "X-Hop", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade"]:
            assert message.value(name) is None, name
        assert message.value("X-End") == b"1"


async def test_fields_keep_their_order_number_and_bytes(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    fields = [("X-B", "2"), ("X-A", "1"), ("x-b", "caf\xe9"), ("X-Empty", "")]

    async def answer(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond(200, b"", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), *fields)

    upstream.on("/", answer)
    caller = await connect(await serve())
    response = await caller.get("/", *fields)
    own = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    for message in (upstream.requests[0], response):
        assert [field for field in message.fields if field in own] == own
    assert response.values("Set-Cookie") == [b"a=1", b"b=2"]


async def test_via_grows_at_each_proxy(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def answer(request: Request, connection: UpstreamConnection) -> None:
        await connection.respond(200, b"", ("Via", "1.0 inner"))

    upstream.on("/", answer)
    caller = await connect(await serve())
    response = await caller.get("/", ("Via", "1.1 outer"))
    sent, returned = upstream.requests[0].values("Via"), response.values("Via")
    assert b", ".join(sent) == b"1.1 outer, 1.1 gatewayx"
    assert b", ".join(returned) == b"1.0 inner, 1.1 gatewayx"


async def test_a_request_id_is_made_and_told_to_both_sides(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve())
    responses = [await caller.get("/") for _ in range(2)]
    sent = [request.value("X-Request-Id") for request in upstream.requests]
    assert [response.value("X-Request-Id") for response in responses] == sent
    assert sent[0] != sent[1]
    assert all(re.fullmatch(rb"[0-9a-f]{32}", made or b"") for made in sent)


async def test_a_sane_request_id_of_the_caller_is_kept(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve())
    response = await caller.get("/", ("X-Request-Id", "req-4711"))
    assert upstream.requests[0].values("X-Request-Id") == [b"req-4711"]
    assert response.values("X-Request-Id") == [b"req-4711"]
    response = await caller.get("/", ("X-Request-Id", 'a"b'))
    assert re.fullmatch(rb"[0-9a-f]{32}", response.value("X-Request-Id") or b"")


async def test_configured_fields_replace_the_callers(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDECAR_KEY", "s3cret")
    headers = {"Authorization": "Bearer {env.SIDECAR_KEY}", "X-Tenant": "blue"}
    caller = await connect(await serve(headers=headers))
    await caller.get("/", ("authorization", "Bearer mine"), ("X-TENANT", "red"))
    [request] = upstream.requests
    assert request.values("Authorization") == [b"Bearer s3cret"]
    assert request.values("X-Tenant") == [b"blue"]


@pytest.mark.parametrize(("mode", "seen"), [("pass", [b"gzip, br"]), ("strip", [])])
async def test_accept_encoding(
    mode: str, seen: list[bytes], upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    caller = await connect(await serve(accept_encoding=mode))
    await caller.get("/", ("Accept-Encoding", "gzip, br"))
    assert upstream.requests[0].values("Accept-Encoding") == seen


async def test_a_large_head_passes_both_ways(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    cookie = "k=" + "v" * 30_000

    async def answer(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond(200, b"", ("Set-Cookie", cookie))

    upstream.on("/", answer)
    caller = await connect(await serve())
    response = await caller.get("/", ("Cookie", cookie))
    assert upstream.requests[0].value("Cookie") == cookie.encode()
    assert response.value("Set-Cookie") == cookie.encode()


async def test_two_proxies_keep_their_upstreams_apart(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    other = ScriptedUpstream()
    await other.start()
    try:

        async def answer(_: Request, connection: UpstreamConnection) -> None:
            await connection.respond(200, b"the other")

        other.on("/x", answer)
        upstream.on("/x", echo)
        proxies = [
            {"name": "one", "path": "/one", "upstream": upstream.url},
            {"name": "two", "path": "/two", "upstream": other.url},
        ]
        gateway = await serve(config={"proxies": proxies})
        caller = await connect(gateway)
        for _ in range(3):
            assert (await caller.get("/one/x")).body == b"GET /x 0\n"
            assert (await caller.get("/two/x")).body == b"the other"
        assert (upstream.connections_count, other.connections_count) == (1, 1)
    finally:
        await other.stop()
