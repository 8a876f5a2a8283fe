"""An upstream that records every byte and can tell whose it was.

A gateway pools its upstream connections, so the bytes of many callers pass over one of them. Each
caller in the hostile suite has a loopback address of its own (127.x.y.z), which the gateway puts
into `X-Forwarded-For`: that is how a request is charged to its caller without changing a byte of
the case.

The bytes of a connection are cut into exchanges. An exchange begins with the first byte after the
last answer and takes all that comes until it is answered, so that whatever was smuggled behind a
request stays with that request. An exchange without an address belongs to the caller before it on
the connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from itertools import count
from typing import cast

from tests.support.framing import Head, LenientFraming, Unframed

_LISTEN_BACKLOG = 4096
_LINGER_SECONDS = 1.0
_BYTEWISE_MAX_BYTES = 512


@dataclass(slots=True)
class Script:
    """What the upstream does with a request to a path of its own."""

    raw: bytes
    close: bool = False
    reset: bool = False
    early: bool = False
    late_raw: bytes = b""
    late_seconds: float = 0.0
    # Where bytes begin that belong to no response; never sent apart from the byte before them.
    surplus_at: int | None = None


@dataclass(slots=True)
class Exchange:
    """Bytes from one answer to the next, as they came."""

    connection: int
    raw: bytearray = field(default_factory=bytearray)
    heads: int = 0
    completed: int = 0
    answered: int = 0
    error: str = ""
    connection_closed: bool = False
    charged: bool = False
    targets: list[bytes] = field(default_factory=list)

    @property
    def is_own(self) -> bool:
        """Holds nothing but requests that the suite sends on its own account."""
        return bool(self.targets) and all(target.startswith(b"/gx-") for target in self.targets)

    @property
    def unfinished(self) -> bool:
        """A message has begun and has not ended."""
        return self.heads > self.completed or (not self.heads and bool(self.raw))


@dataclass(slots=True)
class Caller:
    """What was received on behalf of one source address."""

    exchanges: list[Exchange] = field(default_factory=list)
    # How a scripted answer is delivered: split at this byte, or byte by byte.
    split_at: int | None = None
    byte_by_byte: bool = False
    # Set once a head, or something that will never be one, has come.
    reached: asyncio.Event = field(default_factory=asyncio.Event)


class Recorder:
    """Listens on a loopback port; answers by the script of the path, else with an echo."""

    def __init__(self) -> None:
        self.port = 0
        self.scripts: dict[bytes, Script] = {}
        self.callers: dict[str, Caller] = {}
        # Exchanges that no caller can be found for: a failure by itself.
        self.strays: list[Exchange] = []
        self.connections: set[_Connection] = set()
        self.ids = count(1)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Recorder:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", 0, backlog=_LISTEN_BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0.01)

    def caller(self, address: str) -> Caller:
        return self.callers.setdefault(address, Caller())


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.id = next(recorder.ids)
        self.framing = LenientFraming()
        self.exchange: Exchange | None = None
        self.last_caller: Caller | None = None
        self.head = Head(b"", b"", [])
        self.tasks: set[asyncio.Task[None]] = set()
        self.ended = False

    # --- asyncio ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.recorder.connections.add(self)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None or (exchange.answered and self.framing.at_boundary):
            exchange = self.exchange = Exchange(self.id)
        exchange.raw += data
        if exchange.error:
            return
        try:
            for event in self.framing.feed(data):
                if isinstance(event, Head):
                    self._on_head(exchange, event)
                else:
                    self._on_end(exchange, event.body_bytes)
        except Unframed as error:
            exchange.error = str(error)
            self._charge(exchange, "")
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()

    def eof_received(self) -> bool:
        # A gateway that half-closes still gets the answer that is under way.
        self.ended = True
        return any(not task.done() for task in self.tasks)

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self.tasks:
            task.cancel()
        self.recorder.connections.discard(self)
        if self.exchange is not None:
            self._charge(self.exchange, "")
            self.exchange.connection_closed = True

    # --- bookkeeping and answers ------------------------------------------------------------------

    def _on_head(self, exchange: Exchange, head: Head) -> None:
        self.head = head
        exchange.heads += 1
        exchange.targets.append(head.target)
        sources = [value for name, value in head.fields if name.lower() == b"x-forwarded-for"]
        self._charge(exchange, sources[0].decode("latin-1") if sources else "")
        script = self.recorder.scripts.get(head.target)
        if script is not None and script.early:
            self._answer(exchange, 0)

    def _on_end(self, exchange: Exchange, body_bytes: int) -> None:
        exchange.completed += 1
        script = self.recorder.scripts.get(self.head.target)
        if script is None or not script.early:
            self._answer(exchange, body_bytes)

    def _charge(self, exchange: Exchange, source: str) -> None:
        """Finds whose exchange this is; a second head does not move it to someone else."""
        if exchange.charged:
            return
        caller = self.recorder.callers.get(source) or self.last_caller
        if caller is None:
            self.recorder.strays.append(exchange)
        else:
            caller.exchanges.append(exchange)
            caller.reached.set()
            self.last_caller = caller
        exchange.charged = True

    def _answer(self, exchange: Exchange, body_bytes: int) -> None:
        exchange.answered += 1
        method, target = self.head.method, self.head.target
        script = self.recorder.scripts.get(target)
        if script is None:
            self.transport.write(echo_response(method, target, body_bytes))
            if target.startswith(LAST):
                self.transport.close()
            return
        caller = self.last_caller or Caller()
        task = asyncio.ensure_future(self._follow(script, caller))
        self.tasks.add(task)
        task.add_done_callback(self._followed)

    def _followed(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self.ended:
            self.transport.close()

    async def _follow(self, script: Script, caller: Caller) -> None:
        write = self.transport.write
        if caller.split_at is not None and 0 < caller.split_at < len(script.raw):
            write(script.raw[: caller.split_at])
            await asyncio.sleep(0.002)
            write(script.raw[caller.split_at :])
        elif caller.byte_by_byte:
            count_bytes = min(len(script.raw), _BYTEWISE_MAX_BYTES)
            if script.surplus_at is not None:
                count_bytes = min(count_bytes, script.surplus_at - 1)
            for index in range(count_bytes):
                write(script.raw[index : index + 1])
                await asyncio.sleep(0.001)
            write(script.raw[count_bytes:])
        elif script.raw:
            write(script.raw)
        if script.late_raw:
            await asyncio.sleep(script.late_seconds)
            write(script.late_raw)
        if script.reset:
            await asyncio.sleep(0.02)  # Let what was written arrive before the reset overtakes it.
            endpoint = self.transport.get_extra_info("socket")
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif script.close and script.early:
            # As a careful server closes: the answer is not to be lost to the reset of unread bytes.
            self.transport.write_eof()
            await asyncio.sleep(_LINGER_SECONDS)
            self.transport.close()
        elif script.close:
            self.transport.close()


# A request to this path is answered with a close, which empties a gateway's pool.
LAST = b"/gx-last"


def echo_body(method: bytes, target: bytes, body_bytes: int) -> bytes:
    """What the upstream answers with: proof of which request it read."""
    return b"%s %s %d\n" % (method, target, body_bytes)


def echo_response(method: bytes, target: bytes, body_bytes: int) -> bytes:
    body = echo_body(method, target, body_bytes)
    end = b"Connection: close\r\n" if target.startswith(LAST) else b""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%sContent-Length: %d\r\n\r\n"
    return head % (end, len(body)) + (b"" if method == b"HEAD" else body)
