"""What HTTP/1.1 looks like when nothing is left to interpretation.

Two readers, both written to be obviously right rather than fast:

- `read_responses` is the caller's view of a connection. It takes what a lenient client would take
  and notes every departure from the canonical form in `Response.oddities`.
- `read_canonical_requests` is the upstream's view. It accepts only the one form that every parser
  reads alike: CRLF lines, single spaces, one framing field, no folding, no extensions. What a
  gateway sends upstream has to pass it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") (/[\x21-\x7e]*|\*) HTTP/1\.[01]\Z")
_FIELD = re.compile(
    rb"("
    + TOKEN
    + rb"): ?((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)\Z"
)
_LENIENT_FIELD = re.compile(rb"([^:]*?)[ \t]*:[ \t]*(.*?)[ \t]*\Z", re.DOTALL)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"(?:0|[1-9][0-9]*)\Z")
_CHUNK_SIZE = re.compile(rb"(?:0|[1-9a-fA-F][0-9a-fA-F]*)\Z")
_STATUS_LINE = re.compile(rb"HTTP/([0-9])\.([0-9]) ([0-9]{3,})(?: ([^\r\n]*))?\Z")

Fields = list[tuple[bytes, bytes]]


class NotCanonical(ValueError):
    """Bytes that some parser could read in another way."""


class NotHttp(ValueError):
    """Bytes that no HTTP client would take for a response."""


def values(fields: Fields, name: bytes) -> list[bytes]:
    """Values of every field of that name, in order."""
    lower = name.lower()
    return [value for key, value in fields if key.lower() == lower]


@dataclass(slots=True)
class Request:
    """A request as it stood on the wire, in canonical form."""

    method: bytes
    target: bytes
    fields: Fields
    head: bytes
    body: bytes = b""
    trailers: bytes = b""

    def value(self, name: bytes | str) -> bytes | None:
        found = self.values(name)
        return found[0] if found else None

    def values(self, name: bytes | str) -> list[bytes]:
        return values(self.fields, name.encode() if isinstance(name, str) else name)


@dataclass(slots=True)
class Response:
    """A response as the caller received it."""

    version: bytes
    status: int
    reason: bytes
    fields: Fields
    head: bytes
    body: bytes = b""
    trailers: bytes = b""
    framing: str = "none"
    complete: bool = True
    end: int = 0
    oddities: list[str] = field(default_factory=list)

    def value(self, name: bytes | str) -> bytes | None:
        found = self.values(name)
        return found[0] if found else None

    def values(self, name: bytes | str) -> list[bytes]:
        return values(self.fields, name.encode() if isinstance(name, str) else name)

    @property
    def announces_close(self) -> bool:
        options = b",".join(values(self.fields, b"connection")).lower().split(b",")
        return b"close" in [option.strip() for option in options]


# --- requests, as an upstream sees them -----------------------------------------------------------


def _canonical_fields(lines: list[bytes]) -> Fields:
    fields: Fields = []
    for line in lines:
        match = _FIELD.match(line)
        if match is None:
            raise NotCanonical(f"field line {line[:80]!r}")
        fields.append((match[1], match[2]))
    return fields


def _body_length(fields: Fields) -> int | None:
    """Length of the body, or None for chunked."""
    lengths = values(fields, b"content-length")
    codings = values(fields, b"transfer-encoding")
    if codings:
        if lengths or [coding.lower() for coding in codings] != [b"chunked"]:
            raise NotCanonical(f"framing {codings!r} with lengths {lengths!r}")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.match(lengths[0]):
        raise NotCanonical(f"content-length {lengths!r}")
    return int(lengths[0])


def _canonical_chunks(raw: bytes, at: int) -> tuple[bytes, bytes, int] | None:
    body = bytearray()
    while True:
        end = raw.find(b"\r\n", at)
        if end < 0:
            return None
        if not _CHUNK_SIZE.match(raw[at:end]):
            raise NotCanonical(f"chunk size line {raw[at : min(end, at + 40)]!r}")
        size = int(raw[at:end], 16)
        at = end + 2
        if size == 0:
            break
        if len(raw) < at + size + 2:
            return None
        body += raw[at : at + size]
        at += size
        if raw[at : at + 2] != b"\r\n":
            raise NotCanonical("no CRLF after a chunk")
        at += 2
    if raw.startswith(b"\r\n", at):
        return bytes(body), b"", at + 2
    end = raw.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    trailers = raw[at : end + 2]
    _canonical_fields(trailers.split(b"\r\n")[:-1])
    return bytes(body), trailers, end + 4


def read_canonical_head(head: bytes) -> tuple[Request, int | None]:
    """A request head, up to and with its empty line, and the length of the body: None is chunked.

    Raises:
        NotCanonical: when some parser could read it in another way.
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    line = _REQUEST_LINE.match(first)
    if line is None:
        raise NotCanonical(f"request line {first[:80]!r}")
    fields = _canonical_fields(lines)
    if len(values(fields, b"host")) != 1:
        raise NotCanonical(f"host {values(fields, b'host')!r}")
    return Request(line[1], line[2], fields, head), _body_length(fields)


def read_canonical_requests(raw: bytes) -> tuple[list[Request], bytes]:
    """All whole requests in `raw`, and what is left: the beginning of one that did not end.

    Raises:
        NotCanonical: at the first byte that departs from the canonical form.
    """
    requests: list[Request] = []
    at = 0
    while at < len(raw):
        end = raw.find(b"\r\n\r\n", at)
        if end < 0:
            if _BARE_LF.search(raw, at):
                raise NotCanonical(f"bare LF in {raw[at : at + 80]!r}")
            return requests, raw[at:]
        request, length = read_canonical_head(raw[at : end + 4])
        if length is None:
            chunks = _canonical_chunks(raw, end + 4)
            if chunks is None:
                return requests, raw[at:]
            request.body, request.trailers, at_next = chunks
        else:
            at_next = end + 4 + length
            if len(raw) < at_next:
                return requests, raw[at:]
            request.body = raw[end + 4 : at_next]
        requests.append(request)
        at = at_next
    return requests, b""


# --- responses, as a caller sees them -------------------------------------------------------------


def _response_fields(lines: list[bytes], oddities: list[str]) -> Fields:
    fields: Fields = []
    for line in lines:
        match = _FIELD.match(line)
        if match is None:
            oddities.append(f"field line {line[:80]!r}")
            match = _LENIENT_FIELD.match(line)
            if match is None:
                continue
        fields.append((match[1], match[2]))
    return fields


def _take_chunks(response: Response, raw: bytes, at: int) -> bool:
    """Fills the chunked body; False if it has not ended."""
    body = bytearray()
    try:
        while True:
            end = raw.find(b"\r\n", at)
            if end < 0:
                return False
            line = raw[at:end]
            if not _CHUNK_SIZE.match(line):
                response.oddities.append(f"chunk size line {line[:40]!r}")
            try:
                size = int(line.split(b";")[0].strip(), 16)
            except ValueError:
                raise NotHttp(f"chunk size line {line[:40]!r}") from None
            at = end + 2
            if size == 0:
                break
            body += raw[at : at + size]
            at += size
            if len(raw) < at + 2:
                return False
            if raw[at : at + 2] != b"\r\n":
                raise NotHttp("no CRLF after a chunk")
            at += 2
    finally:
        response.body = bytes(body)
    if raw.startswith(b"\r\n", at):
        response.end = at + 2
        return True
    end = raw.find(b"\r\n\r\n", at)
    if end < 0:
        return False
    response.trailers = raw[at : end + 2]
    _response_fields(response.trailers.split(b"\r\n")[:-1], response.oddities)
    response.end = end + 4
    return True


def read_response(
    raw: bytes, start: int, method: bytes = b"GET", *, eof: bool = False
) -> Response | None:
    """The response that begins at `start`, or None while more bytes are needed.

    At the end of the input (`eof`) an unfinished response is returned with `complete` false.

    Raises:
        NotHttp: the bytes are not a response.
    """
    end = raw.find(b"\r\n\r\n", start)
    if end < 0:
        if raw[start : start + 5] != b"HTTP/"[: len(raw) - start]:
            raise NotHttp(f"{raw[start : start + 60]!r}")
        if eof and start < len(raw):
            raise NotHttp(f"head cut short: {raw[start : start + 60]!r}")
        return None
    head = raw[start : end + 4]
    first, *lines = raw[start:end].split(b"\r\n")
    line = _STATUS_LINE.match(first)
    if line is None:
        raise NotHttp(f"status line {first[:60]!r}")
    oddities: list[str] = []
    if line[4] is None:
        oddities.append("no space after the status code")
    if (line[1], line[2]) != (b"1", b"1"):
        oddities.append(f"version {line[1]!r}.{line[2]!r}")
    if len(line[3]) > 3 or line[3][:1] == b"0":
        oddities.append(f"status code {line[3]!r}")
    response = Response(
        version=line[1] + b"." + line[2],
        status=int(line[3]),
        reason=line[4] or b"",
        fields=_response_fields(lines, oddities),
        head=head,
        oddities=oddities,
    )
    _read_body(response, raw, end + 4, method, eof=eof)
    if response.complete or eof:
        return response
    return None


def _read_body(response: Response, raw: bytes, at: int, method: bytes, *, eof: bool) -> None:
    lengths = values(response.fields, b"content-length")
    codings = values(response.fields, b"transfer-encoding")
    response.end = at
    if response.status < 200 or response.status == 204:
        if lengths or codings:
            response.oddities.append("framing field in a message without a body")
        return
    if response.status == 304 or method == b"HEAD":
        return
    if codings:
        response.framing = "chunked"
        if lengths or codings != [b"chunked"]:
            response.oddities.append(f"framing {codings!r} with lengths {lengths!r}")
        response.complete = _take_chunks(response, raw, at)
        if not response.complete:
            response.end = len(raw)
    elif lengths:
        response.framing = "length"
        if len(lengths) > 1 or not _LENGTH.match(lengths[0]):
            response.oddities.append(f"content-length {lengths!r}")
        try:
            length = int(lengths[0])
        except ValueError:
            raise NotHttp(f"content-length {lengths[0]!r}") from None
        response.body = raw[at : at + length]
        response.complete = len(response.body) == length
        response.end = at + len(response.body)
    else:
        response.framing = "close"
        response.body = raw[at:]
        response.complete = eof
        response.end = len(raw)
