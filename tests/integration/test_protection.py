"""What callers can cost, and whom a request is said to come from."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import Caller, error_of
from tests.support.certificates import Authority
from tests.support.gateway import GatewayProcess
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.waiting import eventually

REFUSED = "gateway_downstream_connections_refused_total"


async def place(port: int) -> Caller | None:
    """A connection; one that is closed at once may be so before it is known to be open."""
    try:
        return await Caller.connect(port)
    except ConnectionError:
        return None


async def is_served(caller: Caller | None) -> bool:
    if caller is None:
        return False
    try:
        return (await caller.get("/")).status == 200
    except (ConnectionError, EOFError, AssertionError):
        return False


async def hang_up(callers: list[Caller | None]) -> None:
    for caller in callers:
        if caller is not None:
            await caller.close()


def limited(**limits: Any) -> dict[str, Any]:
    return {"limits": limits}


@pytest.mark.parametrize(
    ("limits", "reason"),
    [({"connections": 3}, "connections"), ({"connections_per_address": 3}, "address")],
    ids=["all", "address"],
)
async def test_one_connection_too_many_is_closed_and_the_next_is_served(
    serve: Serve, connect: Connect, limits: dict[str, int], reason: str
) -> None:
    gateway = await serve(downstream=limited(**limits))
    first, *others = [await connect(gateway) for _ in range(3)]
    assert all([await is_served(caller) for caller in (first, *others)])
    assert not await is_served(await connect(gateway))
    assert (await gateway.metrics()).total(REFUSED, reason=reason) == 1
    await first.close()

    async def served_again() -> bool:
        caller = await connect(gateway)
        return await is_served(caller)

    for _ in range(100):
        if await served_again():
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("the place of a caller that left is free")


async def test_the_bound_on_connections_is_one_for_all_workers(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url}
    config = {"workers": 2, "downstream": limited(connections=20), "proxies": [proxy]}
    with GatewayProcess(tmp_path, config) as gateway:
        callers = [await place(gateway.port) for _ in range(60)]
        served = await asyncio.gather(*(is_served(caller) for caller in callers))
        assert sum(served) == 20
        assert gateway.metrics().total(REFUSED, reason="connections") == 40
        # A worker that dies gives its places back.
        victim = gateway.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        await hang_up(callers)
        await eventually(
            lambda: gateway.metrics().total("gateway_downstream_connections") == 0, "no caller"
        )
        for _ in range(200):
            again = [await place(gateway.port) for _ in range(20)]
            served = await asyncio.gather(*(is_served(caller) for caller in again))
            await hang_up(again)
            if sum(served) == 20:
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"only {sum(served)} of 20 places came back")


async def test_a_body_that_trickles_is_ended(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def read_all(_: Request, connection: UpstreamConnection) -> None:
        async for _piece in connection.body():
            pass
        await connection.respond(200, b"whole")

    upstream.on("/", read_all, stream=True)
    rates = {"min_rate": {"request_body": 1000, "grace": 0.5}}
    gateway = await serve(downstream=rates)
    caller = await connect(gateway)
    await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")

    async def trickle() -> None:
        while True:
            await caller.send(b"x")
            await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    response = await caller.response("POST")
    trickling.cancel()
    assert (response.status, error_of(response)["reason"]) == (408, "request_timeout")
    quick = await connect(gateway)
    assert (await quick.ask("POST", "/", body=b"x" * 3000)).status == 200


async def test_waiting_for_the_upstream_is_not_held_against_a_caller(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    size = 4 << 20

    async def read_late(_: Request, connection: UpstreamConnection) -> None:
        await asyncio.sleep(1.5)
        async for _piece in connection.body():
            pass
        await connection.respond(200, b"whole")

    upstream.on("/late", read_late, stream=True)
    rates = {"min_rate": {"request_body": 16 << 20, "grace": 0.5}}
    gateway = await serve(downstream=rates, buffers={"high_water": 16384})
    caller = await connect(gateway)
    response = await caller.ask("POST", "/late", body=b"x" * size)
    assert response.status == 200


async def test_a_reader_that_trickles_is_cut_off(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def flood(_: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
        for _piece in range(1024):
            await connection.send(b"y" * 65536)

    upstream.on("/flood", flood)
    gateway = await serve(downstream={"min_rate": {"response": 10 << 20, "grace": 0.3}})
    caller = await connect(gateway, receive_buffer_bytes=4096)
    await caller.request("GET", "/flood")
    await caller.head()
    [record] = await gateway.access_log(1)
    assert (record["status_code"], record["error"]) == (499, "client_stalled")


FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")


@pytest.mark.parametrize(
    ("trusted", "given", "told"),
    [
        ([], "203.0.113.9", ("127.0.0.1", "http", "gw.test")),
        (["10.0.0.0/8"], "203.0.113.9", ("127.0.0.1", "http", "gw.test")),
        (["127.0.0.1"], "203.0.113.9", ("203.0.113.9, 127.0.0.1", "https", "shop.test")),
        (
            ["127.0.0.0/8"],
            "junk, 203.0.113.9:4711, [2001:db8::1]",
            ("203.0.113.9, 2001:db8::1, 127.0.0.1", "https", "shop.test"),
        ),
    ],
    ids=["nobody", "others", "the peer", "with junk"],
)
async def test_only_a_trusted_peer_is_believed(
    upstream: ScriptedUpstream,
    serve: Serve,
    connect: Connect,
    trusted: list[str],
    given: str,
    told: tuple[str, ...],
) -> None:
    proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url}
    gateway = await serve(config={"trusted_proxies": trusted, "proxies": [proxy]})
    caller = await connect(gateway)
    fields = zip(FORWARDED, (given, "https", "shop.test"), strict=True)
    assert (await caller.get("/", *fields)).status == 200
    seen = [upstream.requests[0].values(name) for name in FORWARDED]
    assert seen == [[value.encode()] for value in told]


async def test_the_client_is_the_last_address_that_is_not_trusted(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    proxy = {
        "name": "sidecar",
        "path": "/",
        "upstream": upstream.url,
        "headers": {"X-Client": "@request.ip"},
    }
    trusted = ["127.0.0.1", "10.0.0.0/8"]
    gateway = await serve(config={"trusted_proxies": trusted, "proxies": [proxy]})
    caller = await connect(gateway)
    for chain in ("6.6.6.6, 203.0.113.9, 10.1.2.3", "203.0.113.9", "junk, 203.0.113.9"):
        await caller.get("/", ("X-Forwarded-For", chain))
    await caller.get("/", ("X-Forwarded-For", "10.1.1.1, 10.2.2.2"))
    await caller.get("/")
    seen = [request.values("X-Client")[0] for request in upstream.requests]
    assert seen == [b"203.0.113.9"] * 3 + [b"10.1.1.1", b"127.0.0.1"]


def text_header(address: str) -> bytes:
    return f"PROXY TCP4 {address} 127.0.0.1 4711 80\r\n".encode()


def binary_header(address: str) -> bytes:
    places = socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 1, 2)
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(places)) + places


@pytest.mark.parametrize("header", [text_header, binary_header])
@pytest.mark.parametrize("secured", [False, True], ids=["cleartext", "tls"])
async def test_the_proxy_protocol_names_the_client(
    upstream: ScriptedUpstream,
    serve: Serve,
    tmp_path: Path,
    header: Any,
    secured: bool,
) -> None:
    authority = Authority(tmp_path)
    listener: dict[str, Any] = {"address": "127.0.0.1:0", "proxy_protocol": True}
    if secured:
        listener["tls"] = authority.issue("gw.test")
    proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url}
    gateway = await serve(config={"listeners": [listener], "proxies": [proxy]})
    tls = authority.caller() if secured else None
    answer = await asyncio.to_thread(ask_behind, gateway.port, header("203.0.113.9"), tls)
    assert answer.startswith(b"HTTP/1.1 200")
    assert upstream.requests[0].values("X-Forwarded-For") == [b"203.0.113.9"]


def ask_behind(port: int, header: bytes, tls: ssl.SSLContext | None) -> bytes:
    """Asks as a balancer does, its header byte by byte."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in header:
        sock.sendall(bytes([byte]))
    with sock if tls is None else tls.wrap_socket(sock, server_hostname="gw.test") as talking:
        talking.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := talking.recv(4096):
            answer += piece
        return answer


async def test_without_the_header_nothing_is_served(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    listener = {"address": "127.0.0.1:0", "proxy_protocol": True}
    proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url}
    config = {
        "listeners": [listener],
        "proxies": [proxy],
        "downstream": {"timeout": {"request_head": 0.5}},
    }
    gateway = await serve(config=config)
    for first in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PROXY TC"):
        caller = await connect(gateway)
        await caller.send(first)
        assert await caller.ended() == b""
    assert upstream.requests == []
    assert (await gateway.metrics()).total(REFUSED, reason="proxy_header") == 2


async def test_the_header_of_a_stranger_is_not_taken(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    listener = {"address": "127.0.0.1:0", "proxy_protocol": True}
    proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url}
    config = {"listeners": [listener], "proxies": [proxy], "trusted_proxies": ["10.0.0.0/8"]}
    gateway = await serve(config=config)
    caller = await connect(gateway)
    await caller.send(text_header("203.0.113.9") + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await caller.ended() == b""
    assert upstream.requests == []
