"""A caller's connection at the level of bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast


class Wire(asyncio.Protocol):
    """Keeps all that was received and how it ended; sends what it is told, when it is told."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.received = bytearray()
        self.eof = False
        self.reset = False
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    @classmethod
    async def connect(cls, port: int, source: str = "127.0.0.1") -> Wire:
        loop = asyncio.get_running_loop()
        endpoint = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        endpoint.setblocking(False)
        endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        endpoint.bind((source, 0))
        await loop.sock_connect(endpoint, ("127.0.0.1", port))
        _, wire = await loop.create_connection(cls, sock=endpoint)
        return wire

    @property
    def closed(self) -> bool:
        """The peer has ended the connection, in whichever way."""
        return self.eof or self.reset

    async def changed(self, seconds: float) -> bool:
        """Waits for bytes or an end; False when neither came in time."""
        if self.closed:
            return True
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        handle = asyncio.get_running_loop().call_later(seconds, self.wake)
        seen = len(self.received)
        await waiter
        handle.cancel()
        return len(self.received) > seen or self.closed

    async def send(self, data: bytes) -> None:
        """Sends, waiting while the peer does not read; a connection that is gone takes nothing."""
        if self.transport.is_closing():
            return
        self.transport.write(data)
        if self._writable is not None:
            await self._writable

    def finish(self) -> None:
        """Half-closes: no more will be sent."""
        if not self.transport.is_closing():
            self.transport.write_eof()

    def reset_now(self) -> None:
        """Resets: the peer sees an error, whatever is still under way."""
        endpoint = self.transport.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def close(self) -> None:
        self.transport.abort()

    # --- asyncio ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.wake()

    def eof_received(self) -> bool:
        self.eof = True
        self.wake()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.reset = self.reset or exc is not None
        self.eof = True
        self.wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def wake(self) -> None:
        """Ends a wait early; harmless when nobody waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
