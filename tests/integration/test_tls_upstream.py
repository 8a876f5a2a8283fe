"""TLS with upstreams."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.certificates import Authority
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.waiting import eventually

Start = Callable[[ssl.SSLContext], Awaitable[ScriptedUpstream]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts upstreams that speak TLS."""
    started: list[ScriptedUpstream] = []

    async def one(tls: ssl.SSLContext) -> ScriptedUpstream:
        upstream = ScriptedUpstream()
        await upstream.start(tls=tls)
        started.append(upstream)
        return upstream

    yield one
    for upstream in started:
        await upstream.stop()


async def test_a_trusted_upstream_serves_over_kept_connections(
    start: Start, serve: Serve, connect: Connect, authority: Authority
) -> None:
    upstream = await start(authority.server(authority.issue("127.0.0.1")))
    gateway = await serve(upstream=upstream.url, tls={"ca_file": authority.ca_file})
    caller = await connect(gateway)
    for number in range(5):
        response = await caller.ask("POST", f"/{number}", body=b"x" * 100_000)
        assert response.body == b"POST /%d 100000\n" % number
    assert upstream.connections_count == 1
    samples = await gateway.metrics()
    assert samples.total("gateway_upstream_tls_handshakes_total", result="full") == 1


async def test_the_name_is_the_configured_one(
    start: Start, serve: Serve, connect: Connect, authority: Authority
) -> None:
    asked: list[str | None] = []
    context = authority.server(authority.issue("api.test"))
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    upstream = await start(context)
    tls = {"ca_file": authority.ca_file, "server_name": "api.test"}
    gateway = await serve(upstream=upstream.url, tls=tls)
    caller = await connect(gateway)
    assert (await caller.get("/")).status == 200
    assert asked == ["api.test"]


def wrong_name(authority: Authority, _: Authority) -> dict[str, str]:
    return authority.issue("other.test")


def expired(authority: Authority, _: Authority) -> dict[str, str]:
    return authority.expired("127.0.0.1")


def unknown_authority(_: Authority, stranger: Authority) -> dict[str, str]:
    return stranger.issue("127.0.0.1")


@pytest.mark.parametrize("identity", [wrong_name, expired, unknown_authority])
async def test_an_upstream_that_is_not_trusted_gets_no_request(
    start: Start,
    serve: Serve,
    connect: Connect,
    authority: Authority,
    tmp_path: Path,
    identity: Callable[[Authority, Authority], dict[str, str]],
) -> None:
    stranger = Authority(tmp_path, "stranger")
    upstream = await start(authority.server(identity(authority, stranger)))
    gateway = await serve(upstream=upstream.url, tls={"ca_file": authority.ca_file})
    caller = await connect(gateway)
    response = await caller.get("/")
    assert response.status == 502
    told = error_of(response)
    assert told["reason"] == "tls_failed"
    assert told["details"].startswith("TLS handshake")
    assert upstream.requests == []


async def test_the_system_trusts_no_private_authority(
    start: Start, serve: Serve, connect: Connect, authority: Authority
) -> None:
    upstream = await start(authority.server(authority.issue("127.0.0.1")))
    gateway = await serve(upstream=upstream.url)
    caller = await connect(gateway)
    assert error_of(await caller.get("/"))["reason"] == "tls_failed"


async def test_the_gateway_shows_its_certificate(
    start: Start, serve: Serve, connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    callers = Authority(tmp_path, "callers")
    context = authority.server(authority.issue("127.0.0.1"), client_ca=callers.ca_file)
    upstream = await start(context)
    shown = callers.issue("gateway@test")
    tls = {
        "ca_file": authority.ca_file,
        "client_cert_file": shown["cert_file"],
        "client_key_file": shown["key_file"],
    }
    gateway = await serve(upstream=upstream.url, tls=tls)
    assert (await (await connect(gateway)).get("/")).status == 200
    without = await serve(upstream=upstream.url, tls={"ca_file": authority.ca_file})
    assert (await (await connect(without)).get("/")).status == 502


async def test_a_handshake_that_never_ends(
    serve: Serve, connect: Connect, authority: Authority
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        gateway = await serve(
            upstream=f"https://127.0.0.1:{port}",
            tls={"ca_file": authority.ca_file},
            timeout={"tls_handshake": 0.3},
        )
        caller = await connect(gateway)
        response = await caller.get("/")
        assert response.status == 504
        told = error_of(response)
        assert (told["reason"], told["details"][:13]) == ("tls_timeout", "TLS handshake")


async def test_a_body_that_only_the_end_ends_must_be_ended_within_tls(
    start: Start, serve: Serve, connect: Connect, authority: Authority
) -> None:
    async def cut(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
        await asyncio.sleep(0.1)
        connection.reset()

    async def end(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole")
        connection.close()

    upstream = await start(authority.server(authority.issue("127.0.0.1")))
    upstream.on("/cut", cut)
    upstream.on("/end", end)
    gateway = await serve(upstream=upstream.url, tls={"ca_file": authority.ca_file})
    whole = await connect(gateway)
    assert (await whole.get("/end")).body == b"whole"
    caller = await connect(gateway)
    await caller.request("GET", "/cut")
    rest = await caller.ended()
    assert b"half" in rest
    assert not rest.endswith(b"0\r\n\r\n"), "a cut body must not look whole"
    records = await gateway.access_log(2)
    assert [record["error"] for record in records] == ["", "upstream_truncated"]


async def test_large_bodies_both_ways(
    start: Start, serve: Serve, connect: Connect, authority: Authority
) -> None:
    size = 24 << 20

    async def send_back(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        async for piece in connection.body():
            await connection.send(piece)

    upstream = await start(authority.server(authority.issue("127.0.0.1")))
    upstream.on("/large", send_back, stream=True)
    gateway = await serve(upstream=upstream.url, tls={"ca_file": authority.ca_file})
    caller = await connect(gateway)
    body = bytes(range(256)) * (size >> 8)
    sending = asyncio.create_task(caller.request("POST", "/large", body=body))
    response = await caller.response("POST")
    await sending
    assert response.body == body


async def test_proxies_of_differing_trust_share_no_connection(
    start: Start, serve: Serve, connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    upstream = await start(authority.server(authority.issue("127.0.0.1")))
    stranger = Authority(tmp_path, "stranger")
    config: dict[str, Any] = {
        "proxies": [
            {
                "name": name,
                "path": f"/{name}",
                "upstream": upstream.url,
                "tls": {"ca_file": ca_file},
            }
            for name, ca_file in (("good", authority.ca_file), ("bad", stranger.ca_file))
        ]
    }
    gateway = await serve(config=config)
    caller = await connect(gateway)
    assert (await caller.get("/good")).status == 200
    assert (await caller.get("/bad")).status == 502
    assert (await caller.get("/good")).status == 200
    await eventually(lambda: len(upstream.requests) == 2, "two requests")


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_probe_trusts_whom_its_proxy_trusts(
    start: Start, serve: Serve, authority: Authority, tmp_path: Path, trusted: bool
) -> None:
    """And it asks for the configured name, and shows the client certificate."""
    shown = authority.issue("gateway.test")
    identity = authority.issue("upstream.test")
    upstream = await start(authority.server(identity, client_ca=authority.ca_file))
    ca_file = authority.ca_file if trusted else Authority(tmp_path, "other").ca_file
    tls = {
        "ca_file": ca_file,
        "server_name": "upstream.test",
        "client_cert_file": shown["cert_file"],
        "client_key_file": shown["key_file"],
    }
    check = {"interval": 0.5, "timeout": 0.5, "healthy": 1, "unhealthy": 1}
    gateway = await serve(upstream=upstream.url, tls=tls, health_check=check)
    if trusted:
        await eventually(lambda: len(upstream.requests) >= 2, "two probes")
    else:
        # An upstream is up until its first verdict.
        async with asyncio.timeout(30):
            while (await gateway.metrics()).total("gateway_upstream_up"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert not upstream.requests
    assert (await gateway.metrics()).total("gateway_upstream_up") == trusted
