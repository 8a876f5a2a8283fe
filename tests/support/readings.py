"""One stream of request bytes, read by two parsers that share no code.

A gateway is only safe when every parser behind it reads what it sends in the same way. h11 is
strict and written from the RFC; httptools is llhttp, the parser of Node.js. Where the two disagree
about how many requests there are, or about one of them, something could be smuggled between them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

from tests.support.http1 import TOKEN

_METHOD = re.compile(rb"(" + TOKEN + rb") ")
_LLHTTP_METHODS = frozenset(b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split())


@dataclass(slots=True)
class Seen:
    """A request as one parser read it."""

    method: bytes = b""
    target: bytes = b""
    host: bytes = b""
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.method!r} {self.target[:60]!r} host={self.host!r} body={len(self.body)}"


@dataclass(slots=True)
class Reading:
    """What one parser made of a stream: whole requests, and how the stream ended for it.

    `tail` is `clean` at a message boundary, `incomplete` inside a message, `closed` when bytes
    follow a message that announced the end of the connection, else `error: ...`.
    """

    requests: list[Seen] = field(default_factory=list)
    tail: str = "clean"


def read_with_h11(raw: bytes) -> Reading:
    """Reads `raw` as a server built on h11 would, answering every request at once."""
    reading = Reading()
    conn = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 24)
    conn.receive_data(raw)
    current: Seen | None = None
    body = bytearray()
    while True:
        try:
            event = conn.next_event()
        except h11.RemoteProtocolError as error:
            reading.tail = f"error: {error}"
            return reading
        if isinstance(event, h11.Request):
            host = next((value for name, value in event.headers if name == b"host"), b"")
            current = Seen(bytes(event.method), bytes(event.target), bytes(host))
            body = bytearray()
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert current is not None
            current.body = bytes(body)
            reading.requests.append(current)
            current_method, current = current.method, None
            # A 2xx would open the tunnel that CONNECT asks for.
            status = 405 if current_method == b"CONNECT" else 200
            conn.send(h11.Response(status_code=status, headers=[("content-length", "0")]))
            conn.send(h11.EndOfMessage())
            if conn.our_state is h11.DONE and conn.their_state is h11.DONE:
                conn.start_next_cycle()
            else:
                reading.tail = "closed" if conn.trailing_data[0] else "clean"
                return reading
        else:  # NEED_DATA or PAUSED
            at_boundary = current is None and not conn.trailing_data[0]
            reading.tail = "clean" if at_boundary else "incomplete"
            return reading


class _Collector:
    """Callbacks of llhttp."""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self.current: Seen | None = None
        self.parser: Any = None
        self._body = bytearray()

    def on_message_begin(self) -> None:
        self.current = Seen()
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        assert self.current is not None
        self.current.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self.current is not None
        if name.lower() == b"host" and not self.current.host:
            self.current.host = value

    def on_headers_complete(self) -> None:
        assert self.current is not None
        self.current.method = self.parser.get_method()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        assert self.current is not None
        self.current.body = bytes(self._body)
        self.requests.append(self.current)
        self.current = None


def read_with_httptools(raw: bytes) -> Reading:
    """Reads `raw` as a server built on llhttp would; an `Upgrade` that it offers is not accepted.

    llhttp takes only the methods that it knows. Framing does not depend on the method, so a first
    one that it does not know is lent a name that it does.
    """
    unknown = _METHOD.match(raw)
    if unknown is None or unknown[1] in _LLHTTP_METHODS:
        return _read_with_llhttp(raw)
    reading = _read_with_llhttp(b"POST " + raw[unknown.end() :])
    if reading.requests:
        reading.requests[0].method = unknown[1]
    return reading


def _read_with_llhttp(raw: bytes) -> Reading:
    collector = _Collector()
    reading = Reading(collector.requests)
    rest = raw
    while rest:
        collector.parser = httptools.HttpRequestParser(collector)
        try:
            collector.parser.feed_data(rest)
        except httptools.HttpParserUpgrade as upgrade:
            rest = rest[upgrade.args[0] :]
            continue
        except httptools.HttpParserError as error:
            closed = "Connection: close" in str(error)
            reading.tail = "closed" if closed else f"error: {error}"
            return reading
        break
    if collector.current is not None:
        reading.tail = "incomplete"
    return reading


def read_alike(raw: bytes) -> tuple[list[Seen], str | None]:
    """The requests in `raw`, and where the parsers part: None when both read it without error."""
    by_h11, by_httptools = read_with_h11(raw), read_with_httptools(raw)
    problem = None
    if by_h11.requests != by_httptools.requests:
        ours = [str(seen) for seen in by_h11.requests]
        theirs = [str(seen) for seen in by_httptools.requests]
        problem = (
            f"h11 reads {ours} ({by_h11.tail}), httptools reads {theirs} ({by_httptools.tail})"
        )
    elif by_h11.tail.startswith("error") or by_httptools.tail.startswith("error"):
        problem = f"unreadable: h11 {by_h11.tail}, httptools {by_httptools.tail}"
    return by_h11.requests, problem
