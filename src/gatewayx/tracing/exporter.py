"""From the workers' pipes to a collector, in batches, and never in the way of traffic.

A worker writes finished spans as lines into a pipe of its own; a thread of its own does that, so a
pipe that nobody empties costs spans and no time. Here they are read, kept in a bounded queue and
sent by OpenTelemetry's exporter, which retries; what it gives up is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from gatewayx.config.tracing import TracingConfig
from gatewayx.tracing.span import read_span

QUEUE_MAX_SPANS = 8192
"""Spans that may wait; the oldest are given up for new ones."""

BATCH_MAX_SPANS = 512
BATCH_SECONDS = 1.0
"""A batch is sent when it is full, or so long after its first span."""

LINE_MAX_BYTES = 64 << 10
"""A path can be as long as `downstream.limits.target` and every byte of it six characters."""

CLOSE_SECONDS = 5.0
"""What the last batches get at a stop."""


class SpanExport:
    """The way of all spans of a gateway. Make it before the workers, close it after them.

    Attributes:
        write_fds: Where each worker writes its spans, by slot.
    """

    def __init__(
        self, config: TracingConfig, workers: int, exporter: SpanExporter | None = None
    ) -> None:
        """Make the pipes. `exporter` takes the place of the one that `config` asks for."""
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(workers)]
        self._read_fds = [read for read, _ in pipes]
        self.write_fds = [write for _, write in pipes]
        self._resource = Resource.create({"service.name": config.service_name})
        self._exporter = exporter or OTLPSpanExporter(endpoint=config.otlp_endpoint)
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._counts = {"exported": 0, "failed": 0, "dropped": 0}
        self._readers: list[asyncio.Task[None]] = []
        self._sender: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read and send, on the running loop."""
        self._readers = [asyncio.create_task(self._read(fd)) for fd in self._read_fds]
        self._sender = asyncio.create_task(self._send())

    def metrics(self) -> list[tuple[Any, ...]]:
        """A family for the metrics page; see `Family`."""
        samples = [((result,), count) for result, count in self._counts.items()]
        text = "Spans by what became of them after the workers handed them over."
        return [("gateway_spans", "counter", text, ("result",), samples)]

    async def close(self) -> None:
        """Send what is left within `CLOSE_SECONDS`. The workers must have ended."""
        for fd in self.write_fds:
            os.close(fd)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*self._readers)
                self._closing = True
                self._wake.set()
                if self._sender is not None:
                    await self._sender
        for task in (*self._readers, self._sender):
            if task is not None:
                task.cancel()
        await asyncio.to_thread(self._exporter.shutdown)

    async def _read(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LINE_MAX_BYTES * 8)
        pipe = os.fdopen(fd, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                if len(self._queue) >= QUEUE_MAX_SPANS:
                    self._queue.popleft()
                    self._counts["dropped"] += 1
                self._queue.append(line)
                self._wake.set()
        finally:
            transport.close()

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            if not self._closing and len(self._queue) < BATCH_MAX_SPANS:
                await asyncio.sleep(BATCH_SECONDS)
            if not self._queue and self._closing:
                return
            count = min(len(self._queue), BATCH_MAX_SPANS)
            lines = [self._queue.popleft() for _ in range(count)]
            if not self._queue and not self._closing:
                self._wake.clear()
            if lines:
                result = await asyncio.to_thread(self._export, lines)
                done = result is SpanExportResult.SUCCESS
                self._counts["exported" if done else "failed"] += len(lines)

    def _export(self, lines: list[bytes]) -> SpanExportResult:
        return self._exporter.export([read_span(line, self._resource) for line in lines])
