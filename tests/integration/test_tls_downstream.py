"""TLS with callers."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.certificates import Authority
from tests.support.gateway import GatewayProcess
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, chunk
from tests.support.waiting import eventually


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def secured(upstream: ScriptedUpstream, tls: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {
        "listeners": [{"address": "127.0.0.1:0", "tls": tls}],
        "proxies": [{"name": "sidecar", "path": "/", "upstream": upstream.url, **options}],
    }


async def test_requests_pass_and_the_connection_is_kept(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, authority: Authority
) -> None:
    gateway = await serve(config=secured(upstream, authority.issue("gw.test")))
    caller = await connect(gateway, tls=authority.caller())
    for number in range(3):
        response = await caller.ask("POST", f"/{number}", body=b"x" * number)
        assert response.body == b"POST /%d %d\n" % (number, number)
    assert upstream.requests[0].values("X-Forwarded-Proto") == [b"https"]
    assert (await gateway.metrics()).total("gateway_downstream_tls_handshakes_total") == 1


async def test_the_last_response_comes_before_the_goodbye(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, authority: Authority
) -> None:
    gateway = await serve(config=secured(upstream, authority.issue("gw.test")))
    caller = await connect(gateway, tls=authority.caller())
    response = await caller.get("/last", ("Connection", "close"))
    assert response.body == b"GET /last 0\n"
    assert await caller.ended() == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_versions_and_protocol(
    upstream: ScriptedUpstream,
    serve: Serve,
    connect: Connect,
    authority: Authority,
    version: ssl.TLSVersion,
) -> None:
    gateway = await serve(config=secured(upstream, authority.issue("gw.test")))
    context = authority.caller()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    caller = await connect(gateway, tls=context)
    assert (await caller.get("/")).status == 200
    assert caller.tls().selected_alpn_protocol() == "http/1.1"


async def test_a_caller_of_another_protocol_is_refused(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, authority: Authority
) -> None:
    gateway = await serve(config=secured(upstream, authority.issue("gw.test")))
    context = authority.caller()
    context.set_alpn_protocols(["h2"])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(gateway, tls=context)
    samples = await gateway.metrics()
    assert samples.total("gateway_downstream_tls_handshakes_total", result="failed") == 1


async def test_cleartext_at_a_secured_listener_is_refused(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, authority: Authority
) -> None:
    gateway = await serve(config=secured(upstream, authority.issue("gw.test")))
    caller = await connect(gateway)
    await caller.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not (await caller.ended()).startswith(b"HTTP/")
    assert upstream.requests == []


async def test_a_certificate_for_each_host(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, authority: Authority
) -> None:
    further = [authority.issue("two.test"), authority.issue("*.three.test")]
    tls = {**authority.issue("gw.test"), "certificates": further}
    gateway = await serve(config=secured(upstream, tls))
    for host in ("gw.test", "two.test", "a.three.test"):
        caller = await connect(gateway, tls=authority.caller(), server_name=host)
        assert (await caller.get("/")).status == 200
    # Nobody is for this one: it sees the first, and finds it wanting.
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(gateway, tls=authority.caller(), server_name="four.test")


@pytest.mark.parametrize(("wanted", "anonymous"), [("required", False), ("optional", True)])
async def test_callers_show_a_certificate(
    upstream: ScriptedUpstream,
    serve: Serve,
    connect: Connect,
    authority: Authority,
    tmp_path: Path,
    wanted: str,
    anonymous: bool,
) -> None:
    callers, strangers = Authority(tmp_path, "callers"), Authority(tmp_path, "strangers")
    tls = {
        **authority.issue("gw.test"),
        "client_auth": wanted,
        "client_ca_file": callers.ca_file,
    }
    gateway = await serve(config=secured(upstream, tls))

    async def passes(identity: dict[str, str] | None) -> bool:
        try:
            caller = await connect(gateway, tls=authority.caller(identity))
            return (await caller.get("/")).status == 200
        except (ssl.SSLError, ConnectionError, EOFError, AssertionError):
            return False

    assert await passes(callers.issue("me@test"))
    assert not await passes(strangers.issue("them@test"))
    assert await passes(None) is anonymous


async def test_a_session_is_resumed_at_any_worker(
    upstream: ScriptedUpstream, authority: Authority, tmp_path: Path
) -> None:
    config = secured(upstream, authority.issue("gw.test"))
    process = GatewayProcess(tmp_path, {**config, "workers": 2})
    process.config["listeners"][0]["address"] = f"127.0.0.1:{process.port}"
    context = authority.caller()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # Its ticket is there after the handshake.

    def ask(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession, bool]:
        import socket

        with (
            socket.create_connection(("127.0.0.1", process.port), 10) as raw,
            context.wrap_socket(raw, server_hostname="gw.test", session=session) as sock,
        ):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while sock.recv(4096):
                pass
            assert sock.session is not None
            return sock.session, bool(sock.session_reused)

    with process:
        session, reused = await asyncio.to_thread(ask, None)
        assert not reused
        for _ in range(30):
            _, reused = await asyncio.to_thread(ask, session)
            assert reused
        samples = process.metrics()
        assert samples.total("gateway_downstream_tls_handshakes_total", result="resumed") == 30


async def test_large_bodies_both_ways_past_a_slow_reader(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, authority: Authority
) -> None:
    size = 24 << 20
    taken = 0

    async def swallow(request: Request, connection: UpstreamConnection) -> None:
        nonlocal taken
        async for piece in connection.body():
            taken += len(piece)
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            await connection.send(b"y" * (1 << 16))

    upstream.on("/large", swallow, stream=True)
    gateway = await serve(config=secured(upstream, authority.issue("gw.test")))
    caller = await connect(gateway, tls=authority.caller(), receive_buffer_bytes=64 << 10)
    asking = asyncio.create_task(caller.request("POST", "/large", body=b"x" * size))
    await asking
    response = await caller.response("POST")
    assert (taken, len(response.body)) == (size, size)
    assert response.body.count(b"y") == size


async def test_events_arrive_one_by_one(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, authority: Authority
) -> None:
    go_on = asyncio.Event()

    async def stream(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await connection.send(chunk(b"data: 1\n\n"))
        await go_on.wait()
        await connection.send(chunk(b"data: 2\n\n") + b"0\r\n\r\n")

    upstream.on("/events", stream)
    gateway = await serve(config=secured(upstream, authority.issue("gw.test")))
    caller = await connect(gateway, tls=authority.caller())
    await caller.request("GET", "/events")
    await caller.until(b"data: 1\n\n")
    go_on.set()
    await caller.until(b"data: 2\n\n")


async def test_a_renewed_certificate_is_shown_after_a_reload(
    upstream: ScriptedUpstream, authority: Authority, tmp_path: Path
) -> None:
    from tests.support.caller import Caller

    identity = authority.issue("gw.test", file="served")
    process = GatewayProcess(tmp_path, secured(upstream, identity))
    process.config["listeners"][0]["address"] = f"127.0.0.1:{process.port}"
    with process:
        before = await Caller.connect(process.port, tls=authority.caller())
        assert (await before.get("/1")).status == 200
        first = before.tls().getpeercert(True)
        authority.issue("gw.test", file="served")
        assert process.admin("POST", "/api/gateway/reload")[0] == 200
        after = await Caller.connect(process.port, tls=authority.caller())
        assert (await after.get("/2")).status == 200
        assert after.tls().getpeercert(True) != first
        assert (await before.get("/3")).status == 200, "who is connected stays"
        authority.spoil(identity)
        status, answer = process.admin("POST", "/api/gateway/reload")
        assert status in (400, 409, 422), answer
        again = await Caller.connect(process.port, tls=authority.caller())
        assert (await again.get("/4")).status == 200, "a bad file changes nothing"
        for caller in (before, after, again):
            await caller.close()


async def test_nothing_is_left_of_callers_that_vanish_in_the_handshake(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, authority: Authority
) -> None:
    config = secured(upstream, authority.issue("gw.test"))
    config["downstream"] = {"timeout": {"request_head": 0.5}}
    gateway = await serve(config=config)
    half = await connect(gateway)
    await half.send(b"\x16\x03\x01\x02\x00\x01")
    gone = await connect(gateway)
    await gone.send(b"\x16\x03\x01")
    gone.reset()
    # The deadline of the head is that of the handshake too; an alert may say so.
    assert (await half.ended())[:1] in (b"", b"\x15")
    counts = getattr(gateway, "gateway", None)
    if counts is not None:
        await eventually(lambda: counts.counts()["tls_sessions"] == 0, "the end of all sessions")


async def test_ciphertext_may_arrive_byte_by_byte(
    upstream: ScriptedUpstream, serve: Serve, authority: Authority
) -> None:
    gateway = await serve(config=secured(upstream, authority.issue("gw.test")))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.caller().wrap_bio(incoming, outgoing, server_hostname="gw.test")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)

    async def trickle() -> None:
        for byte in outgoing.read():
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await trickle()
            incoming.write(await reader.read(1))
    tls.write(b"POST /bytes HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 5\r\n\r\nhello")
    await trickle()
    answer = b""
    async with asyncio.timeout(30):
        while b"POST /bytes 5\n" not in answer:
            incoming.write(await reader.read(1))
            try:
                answer += tls.read(65536)
            except ssl.SSLWantReadError:
                continue
    assert answer.startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_tunnel_carries_bytes_both_ways(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect, authority: Authority
) -> None:
    async def switch(request: Request, connection: UpstreamConnection) -> None:
        await connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        await connection.send((await connection.reader.readexactly(4)).upper())
        await connection.ended()
        connection.close()

    upstream.on("/tunnel", switch)
    gateway = await serve(config=secured(upstream, authority.issue("gw.test"), websocket=True))
    caller = await connect(gateway, tls=authority.caller())
    await caller.request("GET", "/tunnel", ("Connection", "upgrade"), ("Upgrade", "websocket"))
    assert b" 101 " in await caller.head()
    await caller.send(b"ping")
    assert await caller.until(b"PING") == b"PING"
