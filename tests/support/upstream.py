"""An upstream that does what a test tells it to, and takes nothing but canonical HTTP.

A handler is called with each request and writes the answer itself, byte by byte if it likes. What a
gateway sends that some parser could misread is a fault, which the fixture turns into a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count

from tests.support.http1 import NotCanonical, Request, read_canonical_head

_HEAD_MAX_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16

Handler = Callable[[Request, "UpstreamConnection"], Awaitable[None]]


class UpstreamConnection:
    """One connection that the gateway opened."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self._body_length: int | None = 0

    async def send(self, data: bytes) -> None:
        """Writes, and waits while the gateway does not read."""
        self.writer.write(data)
        await self.writer.drain()

    async def respond(
        self, status: int = 200, body: bytes = b"", *fields: tuple[str, str], reason: str = "OK"
    ) -> None:
        """A whole response with a length."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        head = f"HTTP/1.1 {status} {reason}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        await self.send(head.encode("latin-1") + body)

    async def respond_chunked(self, *pieces: bytes, trailers: bytes = b"") -> None:
        """A whole response in chunks, one a piece."""
        await self.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            await self.send(chunk(piece))
        await self.send(b"0\r\n" + trailers + b"\r\n")

    async def body(self) -> AsyncIterator[bytes]:
        """The body of the request at hand, as it comes; only for handlers that stream."""
        if self._body_length is None:
            async for piece in self._chunks():
                yield piece
            return
        left = self._body_length
        while left:
            piece = await self.reader.read(min(left, _PIECE_BYTES))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield await self.reader.readexactly(size)
            if await self.reader.readexactly(2) != b"\r\n":
                raise NotCanonical("no CRLF after a chunk")
        self.trailers = b""
        while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
            self.trailers += line

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Ends the connection with a reset."""
        endpoint = self.writer.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def ended(self) -> bytes:
        """Waits until the gateway ends the connection; what it still sent."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read(-1)
        return b""

    async def read_head(self) -> Request | None:
        """The next request without its body; None at the end of the connection."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as end:
            if getattr(end, "partial", b""):
                raise NotCanonical(f"cut within a head: {end.partial!r}") from None  # type: ignore[union-attr]
            return None
        request, self._body_length = read_canonical_head(head)
        return request


def chunk(piece: bytes) -> bytes:
    """One chunk on the wire."""
    return b"%x\r\n%s\r\n" % (len(piece), piece)


async def echo(request: Request, connection: UpstreamConnection) -> None:
    """The default: says what was asked."""
    body = b"%s %s %d\n" % (request.method, request.target, len(request.body))
    if request.method == b"HEAD":
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    else:
        await connection.respond(200, body)


class ScriptedUpstream:
    """Listens on a loopback port; requests, connections and faults are kept for the test."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Request] = []
        self.faults: list[str] = []
        self.connections_count = 0
        self.open: set[UpstreamConnection] = set()
        self._handlers: dict[bytes, tuple[Handler, bool]] = {}
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def authority(self) -> bytes:
        return b"127.0.0.1:%d" % self.port

    def on(self, path: str, handler: Handler, *, stream: bool = False) -> None:
        """Sets the handler of a path. With `stream` it is called before the body has come."""
        self._handlers[path.encode()] = (handler, stream)

    async def start(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", port, limit=_HEAD_MAX_BYTES, backlog=4096, ssl=tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = UpstreamConnection(next(self._numbers), reader, writer)
        self.connections_count += 1
        self.open.add(connection)
        try:
            await self._serve(connection)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The gateway went away, or the test is over.
        except (NotCanonical, ValueError) as fault:
            self.faults.append(str(fault))
        finally:
            self.open.discard(connection)
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, connection: UpstreamConnection) -> None:
        while (request := await connection.read_head()) is not None:
            path = request.target.partition(b"?")[0]
            handler, streams = self._handlers.get(path, (echo, False))
            self.requests.append(request)
            if not streams:
                request.body = b"".join([piece async for piece in connection.body()])
            await handler(request, connection)
            if connection.writer.is_closing():
                return
