"""Many requests, many callers, large bodies, slow readers."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import Caller
from tests.support.http1 import Request
from tests.support.serving import Serving, settled
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, chunk
from tests.support.waiting import eventually

MIB = 1 << 20
PIECE = bytes(range(256)) * 256  # 64 KiB


@pytest.mark.timeout(180)
async def test_ten_thousand_requests_in_a_row(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve()
    caller = await connect(gateway)
    for number in range(10_000):
        assert (await caller.get(f"/{number}")).body == b"GET /%d 0\n" % number
    assert upstream.connections_count == 1
    await caller.close()
    samples = await settled(gateway)
    assert samples.total("gateway_requests_total", status="200") == 10_000
    assert samples.total("gateway_upstream_reuse_total") == 9_999
    assert samples.total("gateway_upstream_latency_seconds_count") == 10_000
    assert samples.total("gateway_errors_total") == 0


@pytest.mark.timeout(180)
async def test_a_thousand_callers_at_once(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    everyone = asyncio.Barrier(1000)

    async def together(request: Request, connection: UpstreamConnection) -> None:
        await everyone.wait()
        await connection.respond(200, request.target)

    upstream.on("/together", together)
    gateway = await serve(timeout={"dial": 60, "response_header": 120})

    async def call(number: int) -> bytes:
        caller = await connect(gateway)
        body = (await caller.get(f"/together?{number}")).body
        await caller.close()
        return body

    bodies = await asyncio.gather(*(call(number) for number in range(1000)))
    assert bodies == [b"/together?%d" % number for number in range(1000)]
    samples = await settled(gateway)
    assert samples.total("gateway_requests_total", status="200") == 1000
    # FR-006: of a thousand connections that come back, so many are kept.
    await eventually(lambda: len(upstream.open) == 100, "a hundred idle connections")


# --- large bodies --------------------------------------------------------------------------------


class Digest:
    """Length and hash of a body that is too large to be kept."""

    def __init__(self) -> None:
        self.length = 0
        self._hash = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        self.length += len(piece)
        self._hash.update(piece)

    def __str__(self) -> str:
        return f"{self.length} {self._hash.hexdigest()}"


def large_answers(upstream: ScriptedUpstream) -> None:
    """`/down?size` sends so many MiB and `/up` takes any number; both with length or in chunks."""

    async def down(request: Request, connection: UpstreamConnection) -> None:
        framing, _, mib = request.target.partition(b"?")[2].partition(b"=")
        pieces_count = int(mib) * 16
        if framing == b"chunked":
            await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(pieces_count):
                await connection.send(chunk(PIECE))
            await connection.send(b"0\r\n\r\n")
        else:
            length = pieces_count * len(PIECE)
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
            for _ in range(pieces_count):
                await connection.send(PIECE)

    async def up(_: Request, connection: UpstreamConnection) -> None:
        digest = Digest()
        async for piece in connection.body():
            digest.add(piece)
        await connection.respond(200, str(digest).encode())

    upstream.on("/down", down)
    upstream.on("/up", up, stream=True)


def expected_digest(mib: int) -> str:
    digest = Digest()
    for _ in range(mib * 16):
        digest.add(PIECE)
    return str(digest)


async def download(caller: Caller, framing: str, mib: int) -> str:
    await caller.request("GET", f"/down?{framing}={mib}")
    await caller.head()
    digest = Digest()
    if framing == "length":
        while digest.length < mib * MIB:
            digest.add(await caller.piece())
        return str(digest)
    # Chunks come in any sizes: taken apart without keeping the body.
    rest = b""
    while True:
        end = rest.find(b"\r\n")
        if end < 0:
            rest += await caller.piece()
            continue
        size = int(rest[:end], 16)
        while len(rest) < end + 2 + size + 2:
            rest += await caller.piece()
        digest.add(rest[end + 2 : end + 2 + size])
        rest = rest[end + 4 + size :]
        if not size:
            return str(digest)


async def upload(caller: Caller, framing: str, mib: int) -> str:
    field = f"Content-Length: {mib * MIB}" if framing == "length" else "Transfer-Encoding: chunked"
    await caller.send(f"POST /up HTTP/1.1\r\nHost: gw.test\r\n{field}\r\n\r\n".encode())
    for _ in range(mib * 16):
        await caller.send(PIECE if framing == "length" else chunk(PIECE))
    if framing == "chunked":
        await caller.send(b"0\r\n\r\n")
    return (await caller.response()).body.decode()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("direction", ["up", "down"])
async def test_64_mib(
    direction: str, framing: str, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    large_answers(upstream)
    gateway = await serve()
    caller = await connect(gateway)
    move = upload if direction == "up" else download
    assert await move(caller, framing, 64) == expected_digest(64)
    assert (await caller.get("/after")).status == 200
    await caller.close()
    samples = await settled(gateway)
    counted = "gateway_request_bytes_total" if direction == "up" else "gateway_response_bytes_total"
    assert samples.total(counted) >= 64 * MIB


# --- slow readers --------------------------------------------------------------------------------

# What may lie between a writer and a reader that stands still: the kernel's buffers of four
# sockets, a stream buffer on each side, and the gateway's own, bounded by `buffers.high_water`.
STANDSTILL_MAX_BYTES = 24 * MIB


async def _standstill(counted: list[int]) -> int:
    """Waits until a count stands still."""
    while True:
        before = counted[0]
        await asyncio.sleep(0.3)
        if counted[0] == before and before:
            return before


async def test_a_slow_caller_slows_the_upstream(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    sent = [0]

    async def flood(_: Request, connection: UpstreamConnection) -> None:
        length = 1024 * len(PIECE)
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        for _piece in range(1024):
            await connection.send(PIECE)
            sent[0] += len(PIECE)

    upstream.on("/flood", flood)
    gateway = await serve(buffers={"high_water": "64KiB"})
    caller = await connect(gateway, receive_buffer_bytes=16384)
    await caller.request("GET", "/flood")
    await caller.head()
    assert await _standstill(sent) < STANDSTILL_MAX_BYTES
    digest = Digest()
    while digest.length < 64 * MIB:
        digest.add(await caller.piece())
    assert str(digest) == expected_digest(64)


async def test_a_slow_upstream_slows_the_caller(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    go = asyncio.Event()

    async def slow(_: Request, connection: UpstreamConnection) -> None:
        await go.wait()
        digest = Digest()
        async for piece in connection.body():
            digest.add(piece)
        await connection.respond(200, str(digest).encode())

    upstream.on("/slow", slow, stream=True)
    gateway = await serve(buffers={"high_water": "64KiB"})
    caller = await connect(gateway)
    sent = [0]

    async def flood() -> None:
        length = 1024 * len(PIECE)
        await caller.send(
            b"POST /slow HTTP/1.1\r\nHost: gw.test\r\nContent-Length: %d\r\n\r\n" % length
        )
        for _ in range(1024):
            await caller.send(PIECE)
            sent[0] += len(PIECE)

    flooding = asyncio.ensure_future(flood())
    assert await _standstill(sent) < STANDSTILL_MAX_BYTES
    go.set()
    await flooding
    assert (await caller.response()).body.decode() == expected_digest(64)


async def test_one_slow_caller_does_not_slow_the_others(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    large_answers(upstream)
    gateway: Serving = await serve()
    slow = await connect(gateway, receive_buffer_bytes=4096)
    await slow.request("GET", "/down?length=64")
    await slow.head()
    other = await connect(gateway)
    for number in range(200):
        assert (await other.get(f"/{number}")).status == 200
    slow.reset()
