"""A constant-rate load generator: an open loop over keep-alive connections, on raw protocols.

Request i is due at start + i/rate, whatever became of the requests before it. Once a millisecond
all that is due is issued; the latency of a request counts from there, also while it waits for a
free connection. So a stalled proxy is charged for every request that it delayed, and the
generator's own lateness is reported apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import cast

TICK_SECONDS = 0.001
FINISH_SECONDS = 30


@dataclass(slots=True)
class Outcome:
    """What became of the requests, in the order of their completion."""

    latencies_ns: array[int] = field(default_factory=lambda: array("Q"))
    failures: int = 0
    late_max_ns: int = 0


class Generator:
    """Issues requests and hands them to whichever connection is free."""

    def __init__(self, port: int, path: str, total: int) -> None:
        self.request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self.outcome = Outcome()
        self.finished = asyncio.Event()
        self._port = port
        self._total = total
        self._free: deque[Exchange] = deque()
        self._waiting: deque[int] = deque()
        self._reconnects: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Opens one connection and puts it to use."""
        loop = asyncio.get_running_loop()
        _, exchange = await loop.create_connection(lambda: Exchange(self), "127.0.0.1", self._port)
        self.release(exchange)

    def issue(self, count: int) -> None:
        """Sends so many requests now, or lines them up."""
        now_ns = time.monotonic_ns()
        for _ in range(count):
            if self._free:
                self._free.pop().send(now_ns)
            else:
                self._waiting.append(now_ns)

    def release(self, exchange: Exchange) -> None:
        """A connection is free: the request that waits longest has it, or the pool."""
        if self._waiting:
            exchange.send(self._waiting.popleft())
        else:
            self._free.append(exchange)

    def lost(self, exchange: Exchange) -> None:
        """A connection was closed by the proxy; another takes its place."""
        with contextlib.suppress(ValueError):
            self._free.remove(exchange)
        task = asyncio.get_running_loop().create_task(self.connect())
        self._reconnects.add(task)
        task.add_done_callback(self._reconnects.discard)

    def completed(self, latency_ns: int | None) -> None:
        """A request has been answered, or has failed."""
        if latency_ns is None:
            self.outcome.failures += 1
        else:
            self.outcome.latencies_ns.append(latency_ns)
        if len(self.outcome.latencies_ns) + self.outcome.failures == self._total:
            self.finished.set()

    def close(self) -> None:
        """Closes what is free, which is everything once all requests are answered."""
        while self._free:
            self._free.pop().close()


class Exchange(asyncio.Protocol):
    """One connection: a request at a time, its response counted to the end of its body."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._issued_ns = 0
        self._head = b""
        self._body_left = 0
        self._closing = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own, not a subclass

    def send(self, issued_ns: int) -> None:
        """Starts a request that was issued then."""
        self._issued_ns = issued_ns
        self._transport.write(self._generator.request)

    def data_received(self, data: bytes) -> None:
        if self._body_left:
            self._body_left -= len(data)
        else:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            if not head.startswith(b"HTTP/1.1 200"):
                self._transport.abort()
                return
            length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            self._body_left = int(length) - len(body)
        if self._body_left == 0:
            self._generator.completed(time.monotonic_ns() - self._issued_ns)
            self._issued_ns = 0
            self._generator.release(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._issued_ns:
            self._generator.completed(None)
        if not self._closing:
            self._generator.lost(self)

    def close(self) -> None:
        """Closes the connection for good."""
        self._closing = True
        self._transport.close()


async def drive(port: int, path: str, rate: int, seconds: int, connections: int) -> Outcome:
    """Runs the load and waits for the last answers.

    Raises:
        TimeoutError: some requests were never answered.
    """
    issued, total = 0, rate * seconds
    generator = Generator(port, path, total)
    for _ in range(connections):
        await generator.connect()
    gc.disable()
    try:
        start_ns = time.monotonic_ns()
        while issued < total:
            await asyncio.sleep(TICK_SECONDS)
            elapsed_ns = time.monotonic_ns() - start_ns
            due = min(total, elapsed_ns * rate // 1_000_000_000)
            late_ns = elapsed_ns - (issued + 1) * 1_000_000_000 // rate
            generator.outcome.late_max_ns = max(generator.outcome.late_max_ns, late_ns)
            generator.issue(due - issued)
            issued = due
        async with asyncio.timeout(FINISH_SECONDS):
            await generator.finished.wait()
    finally:
        gc.enable()
    generator.close()
    return generator.outcome
