"""Thousands of callers who do nothing, or little, beside one who works.

`python -m benchmarks.idle_flood`: a quarter each keeps a connection idle after a request, sends a
head a byte a second, a body a byte a second, and reads a large response a few bytes a second.
Meanwhile a healthy caller asks fifty times a second over a connection of its own. Told are its
latencies, without and beside the flood, and the resident memory of the workers before, at the most,
and after the flood has gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.proxy import processes

HEALTHY_INTERVAL_SECONDS = 0.02
LARGE_BYTES = 1 << 20
SETTLE_SECONDS = 5.0
GRACE_SECONDS = 30.0
_LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE_BYTES + bytes(LARGE_BYTES)
_SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Upstream(asyncio.Protocol):
    """Answers `GET` heads; a request with a body is never whole here, and gets no answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Heads come whole: a gateway forwards no others."""
        if data.startswith(b"GET /large "):
            self._transport.write(_LARGE)
        elif data.startswith(b"GET "):
            self._transport.write(_SMALL)


class Idler(asyncio.Protocol):
    """One caller of the flood."""

    def __init__(self, kind: int) -> None:
        self._kind = kind
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and stop there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        head = (b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /small HTTP/1.1\r\nHost: a\r\nX: ")
        body = b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        large = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"
        transport.write((*head, body, large)[self._kind])
        if self._kind == 3:
            transport.pause_reading()

    def tick(self) -> None:
        """What a second brings."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._kind in (1, 2):
            transport.write(b"x")
        elif self._kind == 3:
            transport.get_extra_info("socket")._sock.recv(16)

    def connection_lost(self, error: Exception | None) -> None:
        """Counted by whoever asks."""
        self._transport = None

    @property
    def is_open(self) -> bool:
        """Whether the gateway still holds the connection."""
        return self._transport is not None


def flood(port: int, count: int, orders: Connection) -> None:
    """Hold `count` connections until told to end; runs in a process of its own."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        idlers: list[Idler] = []
        for number in range(count):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            # Several source addresses: each has no more than 28,000 ports.
            sock.bind((f"127.0.0.{2 + number % 4}", 0))
            await loop.sock_connect(sock, ("127.0.0.1", port))
            idler = Idler(number % 4)
            await loop.create_connection(lambda idler=idler: idler, sock=sock)  # type: ignore[misc]
            idlers.append(idler)
        orders.send("ready")
        while not orders.poll():
            for idler in idlers:
                with contextlib.suppress(BlockingIOError, OSError):
                    idler.tick()
            await asyncio.sleep(1)
        orders.send(sum(idler.is_open for idler in idlers))

    asyncio.run(run())


def serve_upstream(sock: socket.socket) -> None:
    """The upstream, in a process of its own."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Upstream, sock=sock, backlog=4096)
        async with server:
            await server.serve_forever()

    asyncio.run(run())


def latencies(port: int, seconds: float) -> list[float]:
    """Milliseconds of a healthy caller's requests, sorted."""
    found = []
    deadline = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < deadline:
            started = time.monotonic()
            sock.sendall(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\nok"):
                piece = sock.recv(4096)
                if not piece:
                    raise SystemExit(f"the healthy caller was cut off: {answer!r}")
                answer += piece
            took = time.monotonic() - started
            found.append(took * 1e3)
            time.sleep(max(0.0, HEALTHY_INTERVAL_SECONDS - took))
    return sorted(found)


def percentile(values: list[float], share: float) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(share * len(values)))]


@contextlib.contextmanager
def gateway(directory: Path, upstream_port: int, workers: int) -> Iterator[tuple[int, int]]:
    """A real server; its port and its process id."""
    port = processes.free_port()
    config = directory / "gateway.yaml"
    config.write_text(
        f"listeners: [{{address: '127.0.0.1:{port}'}}]\n"
        f"admin: {{address: '127.0.0.1:{processes.free_port()}'}}\n"
        f"workers: {workers}\naccess_log: {{enabled: false}}\n"
        "downstream: {timeout: {request_head: 600, request_body_idle: 600, keep_alive: 600,"
        " write_idle: 600}}\n"
        f"proxies: [{{name: origin, upstream: 'http://127.0.0.1:{upstream_port}',"
        " timeout: {response_header: 600, body_idle: 600}}]\n"
    )
    command = [sys.executable, "-m", "gatewayx", "serve", "-c", str(config)]
    with (directory / "output").open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        time.sleep(1)
        yield port, server.pid
    finally:
        server.terminate()
        server.wait(60)


def main() -> int:
    """Runs the flood and prints what it did; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=9000)
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    context = multiprocessing.get_context("fork")
    upstream = context.Process(target=serve_upstream, args=(listening,), daemon=True)
    upstream.start()
    with (
        tempfile.TemporaryDirectory(prefix="idle-flood-") as directory,
        gateway(Path(directory), listening.getsockname()[1], arguments.workers) as (port, pid),
    ):
        workers = [
            child
            for child in processes.descendants(pid)
            if "gatewayx.server.worker" in processes.command_line(child)
        ]
        alone = latencies(port, arguments.seconds)
        before = processes.resident_bytes(workers)
        orders, theirs = context.Pipe()
        caller = context.Process(target=flood, args=(port, arguments.connections, theirs))
        caller.start()
        assert orders.recv() == "ready"
        time.sleep(SETTLE_SECONDS)
        beside = latencies(port, arguments.seconds)
        most = processes.resident_bytes(workers)
        orders.send("end")
        held = orders.recv()
        caller.join(GRACE_SECONDS)
        time.sleep(SETTLE_SECONDS)
        latencies(port, 1)
        after = processes.resident_bytes(workers)
    upstream.terminate()
    figures = {
        "connections": arguments.connections,
        "held": held,
        "workers": arguments.workers,
        "p50_ms_alone": round(percentile(alone, 0.5), 2),
        "p99_ms_alone": round(percentile(alone, 0.99), 2),
        "p50_ms_beside": round(percentile(beside, 0.5), 2),
        "p99_ms_beside": round(percentile(beside, 0.99), 2),
        "resident_mib_before": round(before / 2**20, 1),
        "resident_mib_most": round(most / 2**20, 1),
        "resident_mib_after": round(after / 2**20, 1),
        "kib_a_connection": round((most - before) / 1024 / arguments.connections, 1),
    }
    print(json.dumps(figures, indent=1))
    if arguments.save:
        Path(arguments.save).write_text(json.dumps(figures, indent=1) + "\n")
    met = figures["p99_ms_beside"] < 20 and after <= 1.1 * before and held == arguments.connections
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
