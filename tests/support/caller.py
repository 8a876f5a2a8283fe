"""A caller that writes its own bytes and reads responses strictly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from typing import Any

from tests.support.http1 import NotHttp, Response, read_response

_READ_BYTES = 1 << 18


class Caller:
    """One connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._eof = False

    @classmethod
    async def connect(
        cls,
        port: int,
        *,
        receive_buffer_bytes: int = 0,
        tls: ssl.SSLContext | None = None,
        server_name: str = "gw.test",
    ) -> Caller:
        """Connects; with `receive_buffer_bytes` the kernel keeps no more than about that unread."""
        endpoint = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        endpoint.setblocking(False)
        endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit = 1 << 20
        if receive_buffer_bytes:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            limit = receive_buffer_bytes
        try:
            await asyncio.get_running_loop().sock_connect(endpoint, ("127.0.0.1", port))
        except BaseException:
            endpoint.close()
            raise
        named = server_name if tls is not None else None
        streams = await asyncio.open_connection(
            sock=endpoint, limit=limit, ssl=tls, server_hostname=named
        )
        return cls(*streams)

    def tls(self) -> ssl.SSLObject:
        """The caller's side of TLS."""
        found: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        return found

    # --- sending ----------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def request(
        self,
        method: str,
        target: str,
        *fields: tuple[str, str],
        body: bytes | None = None,
        host: str = "gw.test",
    ) -> None:
        """Sends a whole request, with a length if there is a body."""
        lines = [("Host", host), *fields]
        if body is not None:
            lines.append(("Content-Length", str(len(body))))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        await self.send(
            f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")
        )

    def finish(self) -> None:
        """Half-closes."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Vanishes with a reset."""
        endpoint = self._writer.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()

    # --- receiving --------------------------------------------------------------------------------

    async def response(self, method: str = "GET") -> Response:
        """The next response, interim ones included; an unfinished one when the connection ends.

        Raises:
            ConnectionError: when the connection ends before a response begins.
            NotHttp: when what comes is not a response.
        """
        while True:
            response = read_response(self._buffer, 0, method.encode(), eof=self._eof)
            if response is not None:
                self._buffer = self._buffer[response.end :]
                assert not response.oddities, response.oddities
                return response
            if self._eof:
                raise ConnectionResetError("closed without a response")
            await self._fill()

    async def ask(
        self,
        method: str,
        target: str,
        *fields: tuple[str, str],
        body: bytes | None = None,
        host: str = "gw.test",
    ) -> Response:
        """A request and its final response."""
        await self.request(method, target, *fields, body=body, host=host)
        while (response := await self.response(method)).status < 200:
            continue
        return response

    async def get(self, target: str, *fields: tuple[str, str]) -> Response:
        return await self.ask("GET", target, *fields)

    async def head(self) -> bytes:
        """The next head alone; what follows it is left to `piece`."""
        while b"\r\n\r\n" not in self._buffer:
            await self._fill()
            if self._eof:
                raise NotHttp(f"cut short: {self._buffer!r}")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    async def piece(self) -> bytes:
        """Whatever bytes come next; empty at the end."""
        if not self._buffer and not self._eof:
            await self._fill()
        taken, self._buffer = self._buffer, b""
        return taken

    async def until(self, mark: bytes) -> bytes:
        """Bytes up to and with `mark`."""
        while mark not in self._buffer:
            if self._eof:
                raise ConnectionResetError(f"closed before {mark!r}: {self._buffer!r}")
            await self._fill()
        before, _, self._buffer = self._buffer.partition(mark)
        return before + mark

    async def ended(self) -> bytes:
        """Waits for the end of the connection; what came before it."""
        while not self._eof:
            await self._fill()
        return self._buffer

    async def _fill(self) -> None:
        try:
            data = await self._reader.read(_READ_BYTES)
        except ConnectionError:
            data = b""
        self._eof = not data
        self._buffer += data


def error_of(response: Response) -> dict[str, Any]:
    """The JSON of an answer that the gateway made itself, checked for its fixed parts."""
    assert response.value("Content-Type") == b"application/json"
    error: dict[str, Any] = json.loads(response.body)
    assert set(error) == {"error", "details", "reason", "request_id"}
    assert all(isinstance(value, str) and value for value in error.values()), error
    assert response.value("X-Gateway-Reason") == error["reason"].encode()
    assert response.value("X-Request-Id") == error["request_id"].encode()
    return error
