"""Between supervisor and worker: JSON objects, one a line, over a pair of connected sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from typing import Any

MESSAGE_MAX_BYTES = 64 << 20
"""A message carries a whole compiled configuration."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told first.

    Attributes:
        slot: Its place in the shared metrics.
        slots: How many workers there are.
        blocks: How many proxies the metrics have room for.
        metrics_fd: The shared memory.
        listener_fds: Listening sockets to accept on, by address.
        wake_fds: Event descriptors of all workers, by slot.
        log_fd: Where access log lines go; `None` when they are off.
        spans_fd: Where finished spans go; `None` when nobody exports them.
        buffer_size: Of one pooled buffer, in bytes.
        buffers_per_read: How many of them, side by side, one read may fill.
        drain_seconds: How long exchanges may go on when the supervisor is gone.
        dns: How long what was looked up is used.
        config: The compiled configuration.
        policies: The compiled fault policies; a worker asks for them anew before it listens.
    """

    slot: int
    slots: int
    blocks: int
    metrics_fd: int
    listener_fds: dict[str, int]
    wake_fds: list[int]
    log_fd: int | None
    spans_fd: int | None
    buffer_size: int
    buffers_per_read: int
    drain_seconds: float
    dns: dict[str, float]
    config: dict[str, Any]
    policies: dict[str, Any]


class Channel:
    """One end of the conversation.

    Worker and supervisor take turns: an order is answered before the next one is given.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> Channel:
        """Take over a connected socket."""
        sock.setblocking(False)
        return cls(*await asyncio.open_connection(sock=sock, limit=MESSAGE_MAX_BYTES))

    async def send(self, message: dict[str, Any]) -> None:
        """Send one object; silently nothing when the other end is gone, which `receive` tells."""
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            await self._writer.drain()
        except ConnectionError:
            pass

    async def receive(self) -> dict[str, Any] | None:
        """The next object; `None` when the other end is gone."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        if not line.endswith(b"\n"):
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
