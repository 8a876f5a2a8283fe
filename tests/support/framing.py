"""Finds where requests end in whatever a proxy sends, well-formed or not.

Only good enough to know when to answer: bare LF, odd methods, control characters, chunk extensions
and trailers pass. Whether the bytes were fit to be sent is for the strict readers to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.http1 import Fields


class Unframed(ValueError):
    """Bytes of which not even the end can be told."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request is complete."""

    method: bytes
    target: bytes
    fields: Fields


@dataclass(frozen=True, slots=True)
class End:
    """A request is complete; its body had so many bytes."""

    body_bytes: int


class LenientFraming:
    """Bytes in, `Head` and `End` events out, in any number of pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._state = "head"
        self._left = 0
        self._body_bytes = 0

    @property
    def at_boundary(self) -> bool:
        """Nothing of a further request has been seen."""
        return self._state == "head" and not self._buffer

    def feed(self, data: bytes) -> Iterator[Head | End]:
        self._buffer += data
        while True:
            event = self._step()
            if event is None:
                return
            if event is not True:
                yield event

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def _step(self) -> Head | End | bool | None:
        """Takes one element off the buffer; None when there is not enough."""
        if self._state == "head":
            return self._take_head()
        if self._state in ("length", "data"):
            return self._take_data()
        line = self._line()
        if line is None:
            return None
        if self._state == "size":
            try:
                self._left = int(line.split(b";")[0], 16)
            except ValueError:
                raise Unframed(f"chunk size {line[:40]!r}") from None
            self._state = "data" if self._left else "trailers"
        elif self._state == "after-data":
            if line:
                raise Unframed(f"{line[:40]!r} after a chunk")
            self._state = "size"
        elif not line:  # trailers
            return self._end()
        return True

    def _take_head(self) -> Head | bool | None:
        ends = [
            (at + len(mark))
            for mark in (b"\r\n\r\n", b"\n\n", b"\n\r\n")
            if (at := self._buffer.find(mark)) >= 0
        ]
        if not ends:
            return None
        raw = bytes(self._buffer[: min(ends)])
        del self._buffer[: min(ends)]
        first, *lines = raw.lstrip(b"\r\n").replace(b"\r\n", b"\n").split(b"\n")
        method, _, rest = first.partition(b" ")
        target, _, version = rest.rpartition(b" ")
        if not version.startswith(b"HTTP/"):
            raise Unframed(f"request line {first[:60]!r}")
        fields = [
            (name.strip(), value.strip())
            for name, colon, value in (line.partition(b":") for line in lines)
            if colon
        ]
        self._begin_body(fields)
        return Head(method, target, fields)

    def _begin_body(self, fields: Fields) -> None:
        lower = {name.lower(): value for name, value in fields}
        self._body_bytes = 0
        if b"chunked" in lower.get(b"transfer-encoding", b"").lower():
            self._state = "size"
        else:
            try:
                self._left = int(lower.get(b"content-length", b"0"))
            except ValueError:
                raise Unframed("content-length") from None
            self._state = "length"

    def _take_data(self) -> End | bool | None:
        taken = min(self._left, len(self._buffer))
        del self._buffer[:taken]
        self._left -= taken
        self._body_bytes += taken
        if self._left:
            return None
        if self._state == "length":
            return self._end()
        self._state = "after-data"
        return True

    def _end(self) -> End:
        self._state = "head"
        return End(self._body_bytes)
