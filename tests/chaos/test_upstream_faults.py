"""Upstreams and callers that break off, stand still or dawdle."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.books import Told, ask, ask_all, balanced
from tests.chaos.conftest import Start
from tests.support.caller import Caller
from tests.support.gateway import free_port
from tests.support.http1 import NotHttp, Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, chunk
from tests.support.waiting import eventually

CALLERS_COUNT = 20
LARGE_BYTES = 8 << 20
SHORT = {"dial": 1, "response_header": 1, "body_idle": 1}

# Answers a request with half a response, notes it, and is then at somebody's mercy.
_HALF_ANSWERING = """
import socket, sys, threading
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=256)
print("up", flush=True)
def serve(connection):
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        data += connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100000\\r\\n\\r\\n" + b"x" * 5000)
    print("begun", flush=True)
    connection.recv(1)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


def _half_answering(port: int, output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as sink:
        return subprocess.Popen([sys.executable, "-c", _HALF_ANSWERING, str(port)], stdout=sink)


async def test_an_upstream_killed_within_its_responses(
    start: Start, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    port = free_port()
    output = tmp_path / "upstream.txt"
    process = await asyncio.to_thread(_half_answering, port, output)
    try:
        await eventually(lambda: "up" in output.read_text(), "the upstream")
        gateway = await start(upstream=f"http://127.0.0.1:{port}", max_concurrent=CALLERS_COUNT)
        told = Told()
        asking = asyncio.create_task(ask_all(told, gateway.port, "/half", CALLERS_COUNT))
        await eventually(
            lambda: output.read_text().count("begun") == CALLERS_COUNT, "all responses"
        )
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.wait_for(asking, 20)
    finally:
        process.kill()
        process.wait()
    assert (told.cut, told.answered) == (CALLERS_COUNT, 0)
    # Nobody listens any more: told at once, not waited for.
    await ask_all(told, gateway.port, "/after", CALLERS_COUNT)
    assert told.answers == {502: CALLERS_COUNT}
    # And when somebody does again, all is as before.
    fresh = ScriptedUpstream()
    await fresh.start(port)
    await ask_all(told, gateway.port, "/again", CALLERS_COUNT)
    await fresh.stop()
    assert told.answers == {502: CALLERS_COUNT, 200: CALLERS_COUNT}
    balance = await balanced(gateway, told)
    assert balance.total("gateway_errors_total", type="upstream_truncated") == CALLERS_COUNT
    assert balance.total("gateway_upstream_latency_seconds_count") == 3 * CALLERS_COUNT


async def _reset_at_once(_: Request, connection: UpstreamConnection) -> None:
    connection.reset()


async def _reset_within_head(_: Request, connection: UpstreamConnection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    connection.reset()


async def _reset_within_body(_: Request, connection: UpstreamConnection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100)
    await asyncio.sleep(0.05)
    connection.reset()


async def _half_close_at_once(_: Request, connection: UpstreamConnection) -> None:
    connection.writer.write_eof()
    await connection.ended()


async def _half_close_within_body(_: Request, connection: UpstreamConnection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"one"))
    connection.writer.write_eof()
    await connection.ended()


async def _silent(_: Request, connection: UpstreamConnection) -> None:
    await connection.ended()


async def _silent_within_body(_: Request, connection: UpstreamConnection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100)
    await connection.ended()


@pytest.mark.parametrize(
    ("handler", "status", "reason"),
    [
        (_reset_at_once, 502, "upstream_reset"),
        (_reset_within_head, 502, "upstream_reset"),
        (_reset_within_body, 0, "upstream_truncated"),
        (_half_close_at_once, 502, "upstream_reset"),
        (_half_close_within_body, 0, "upstream_truncated"),
        (_silent, 504, "header_timeout"),
        (_silent_within_body, 0, "idle_timeout"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).strip("_"),
)
async def test_an_upstream_that(
    handler: object, status: int, reason: str, start: Start, upstream: ScriptedUpstream
) -> None:
    upstream.on("/bad", handler)  # type: ignore[arg-type]
    gateway = await start(max_concurrent=2 * CALLERS_COUNT, timeout=SHORT)
    told = Told()
    await asyncio.gather(
        ask_all(told, gateway.port, "/bad", CALLERS_COUNT),
        ask_all(told, gateway.port, "/good", CALLERS_COUNT),
    )
    # What is wrong with some is nothing to the others.
    assert told.answers[200] == CALLERS_COUNT
    assert told.answers[status] + told.cut == CALLERS_COUNT
    balance = await balanced(gateway, told, upstream)
    assert balance.total("gateway_errors_total", type=reason) == CALLERS_COUNT


async def test_a_black_hole(start: Start, upstream: ScriptedUpstream) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        with socket.create_connection(hole.getsockname()):  # Fills the queue: no more are let in.
            url = f"http://127.0.0.1:{hole.getsockname()[1]}"
            gateway = await start(upstream=url, timeout=SHORT, max_concurrent=CALLERS_COUNT)
            told = Told()
            await ask_all(told, gateway.port, "/hole", 2 * CALLERS_COUNT)
    assert told.answers.keys() == {429, 504}
    assert told.answered == 2 * CALLERS_COUNT
    balance = await balanced(gateway, told)
    assert balance.total("gateway_limiter_rejected_total") == told.answers[429]


async def _large(_: Request, connection: UpstreamConnection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE_BYTES)
    for _ in range(LARGE_BYTES >> 16):
        await connection.send(b"x" * (1 << 16))


async def test_slow_readers(start: Start, upstream: ScriptedUpstream) -> None:
    upstream.on("/large", _large)
    settings = {"downstream": {"timeout": {"write_idle": 1}}}
    gateway = await start(settings)
    told = Told()
    patient, stuck = [
        [await Caller.connect(gateway.port, receive_buffer_bytes=4096) for _ in range(5)]
        for _ in range(2)
    ]
    for caller in patient + stuck:
        told.asked += 1
        await caller.request("GET", "/large")

    async def read(caller: Caller) -> None:
        await caller.head()
        left = LARGE_BYTES
        while left:
            left -= len(await caller.piece())
            await asyncio.sleep(0)
        told.answers[200] += 1

    await asyncio.gather(*(read(caller) for caller in patient))
    # Those that read nothing are cut off, and hold nothing after that.
    told.cut += len(stuck)
    for _ in range(500):
        samples = await asyncio.to_thread(gateway.metrics)
        if samples.total("gateway_requests_total", status="499") == len(stuck):
            break
        await asyncio.sleep(0.02)
    for caller in stuck:
        await asyncio.wait_for(caller.ended(), 20)
    for caller in patient + stuck:
        await caller.close()
    balance = await balanced(gateway, told)
    assert balance.total("gateway_requests_total", status="499") == len(stuck)


async def _dribble(request: Request, connection: UpstreamConnection) -> None:
    body = request.target * 3
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    for byte in head + body:
        await connection.send(bytes([byte]))
        await asyncio.sleep(0.002)


async def test_slow_writers_on_both_sides(start: Start, upstream: ScriptedUpstream) -> None:
    upstream.on("/dribble", _dribble)
    settings = {"downstream": {"timeout": {"request_head": 1, "request_body_idle": 1}}}
    gateway = await start(settings)
    told = Told()

    async def slow(data: bytes, then: int) -> None:
        """Sends byte by byte; `then` is the status that follows."""
        told.asked += 1
        caller = await Caller.connect(gateway.port)
        for byte in data:
            await caller.send(bytes([byte]))
            await asyncio.sleep(0.002)
        response = await asyncio.wait_for(caller.response(), 20)
        assert response.status == then
        told.answers[then] += 1
        await caller.close()

    whole = b"POST /slow?n=%d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    await asyncio.gather(
        ask_all(told, gateway.port, "/dribble", CALLERS_COUNT),
        *(slow(whole % number, 200) for number in range(5)),
        *(slow(whole[:-4] % number, 408) for number in range(5, 10)),
        *(slow(b"GET /unfinished HTTP/1.1\r\nHo", 408) for _ in range(5)),
    )
    assert told.answers == {200: CALLERS_COUNT + 5, 408: 10}
    await balanced(gateway, told, upstream)


async def test_callers_that_leave(start: Start, upstream: ScriptedUpstream) -> None:
    async def slow(request: Request, connection: UpstreamConnection) -> None:
        await asyncio.sleep(0.3)
        await connection.respond(200, request.target)

    upstream.on("/slow", slow)
    gateway = await start(max_concurrent=5, queue={"size": 100, "timeout": 20})
    told = Told()

    async def leave(resets: bool) -> None:
        told.asked += 1
        told.failed += 1
        target = f"/slow?left={told.asked}"
        caller = await Caller.connect(gateway.port)
        await caller.request("GET", target)
        await asyncio.sleep(0.1)
        if resets:
            caller.reset()
        await caller.close()

    async def half_close() -> None:
        told.asked += 1
        target = f"/slow?half={told.asked}"
        caller = await Caller.connect(gateway.port)
        await caller.request("GET", target)
        caller.finish()
        try:
            told.answers[(await caller.response()).status] += 1
        except (ConnectionError, NotHttp):
            told.failed += 1
        await caller.close()

    await asyncio.gather(
        *(leave(resets=bool(number % 2)) for number in range(20)),
        *(half_close() for _ in range(5)),
        ask_all(told, gateway.port, "/slow", 10),
    )
    assert told.answers[200] >= 10
    last = await ask(told, gateway.port, "/last")
    assert last is not None
    await last.close()
    await balanced(gateway, told, upstream)
