"""The kinds of value that a configuration holds: durations, sizes, addresses, paths, header fields.

Each kind is a plain function from what the file says to what the program uses, raising `ValueError`
with words for the user, and an `Annotated` type built on it for the model. Nothing here knows of
files, proxies or pydantic models.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

T = TypeVar("T")

DURATION_MAX_SECONDS = 30 * 24 * 3600
SIZE_MAX_BYTES = 1 << 40

_SIZE = re.compile(r"([0-9]{1,13})\s*([A-Za-z]*)\Z")
_SIZE_UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_REG_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\Z"
)
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*\Z")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_URL = re.compile(r"(?i:(https?)://)([^/?#]*)([^?#]*)(.*)\Z", re.DOTALL)

OWN_FIELDS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    }
)
"""Fields that frame or route a message, manage a connection or vouch for a caller: the gateway
alone writes them."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What the configuration reference calls a type."""

    name: str


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """What an upstream URL means.

    Attributes:
        host: Name or address, lower case, without the brackets of IPv6.
        port: 1 to 65535.
        tls: Whether the scheme is https.
        authority: The value of the Host field; the scheme's own port is left out.
        base_path: Put before every forwarded path; no trailing slash, empty for none.
    """

    host: str
    port: int
    tls: bool
    authority: str
    base_path: str


def duration(value: object) -> float:
    """Seconds. Above zero means at least a millisecond, so that rounding never makes it zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number of seconds, such as 2 or 0.5")
    if not 0 <= value <= DURATION_MAX_SECONDS:  # False for NaN as well
        raise ValueError(f"must be between 0 and {DURATION_MAX_SECONDS} seconds (30 days)")
    if 0 < value < 0.001:
        raise ValueError("must be 0 or at least 0.001 (one millisecond)")
    return float(value)


def nonzero_duration(value: object) -> float:
    """Seconds, above zero: for the waits that a hostile peer could otherwise hold for ever."""
    seconds = duration(value)
    if seconds == 0:
        raise ValueError("must be above 0: this wait cannot be switched off")
    return seconds


def size(value: object) -> int:
    """Bytes, as a whole number or as text with a unit: `65536`, `64KiB`, `10MiB`."""
    if isinstance(value, int) and not isinstance(value, bool):
        count = value
    else:
        match = _SIZE.match(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(
                "must be a number of bytes, or a number with KiB, MiB or GiB, such as 64KiB"
            )
        unit = match[2]
        if unit not in _SIZE_UNITS:
            raise ValueError(f"unknown unit {unit!r}: use B, KiB, MiB or GiB")
        count = int(match[1]) * _SIZE_UNITS[unit]
    if not 0 <= count <= SIZE_MAX_BYTES:
        raise ValueError("must be between 0 and 1024GiB")
    return count


def label(value: str) -> str:
    """A name that fits into a metric label, a URL and a shell word."""
    if not _LABEL.match(value):
        raise ValueError(
            "must be 1 to 63 letters, digits, '.', '_' or '-', with neither end a sign"
        )
    return value


def host_name(value: str) -> str:
    """A host without a port, in lower case; IPv6 in brackets, as in a URL."""
    if value.startswith("[") and value.endswith("]"):
        if "%" in value:
            raise ValueError("must not name an IPv6 zone")
        try:
            return f"[{ipaddress.IPv6Address(value[1:-1])}]"
        except ValueError:
            raise ValueError("is not an IPv6 address in brackets") from None
    if not value.isascii():
        raise ValueError("must be ASCII: write an international name in its xn-- form")
    if not _REG_NAME.match(value):
        raise ValueError("must be a host name or an address, without a port")
    if value.replace(".", "").isdigit():
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            raise ValueError("is not an IPv4 address") from None
    return value.lower()


def split_address(value: str) -> tuple[str, int]:
    """The host (IPv6 without brackets) and the port of a checked listening address."""
    host, _, port = value.rpartition(":")
    return host.strip("[]"), int(port)


def listen_address(value: str) -> str:
    """`host:port` to listen on; port 0 lets the system choose."""
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        raise ValueError("must be host:port, such as 127.0.0.1:8080 or [::1]:8080")
    if not host:
        raise ValueError(
            f"needs a host: 127.0.0.1:{port} for this machine, 0.0.0.0:{port} for every interface"
        )
    return f"{host_name(host)}:{int(port)}"


def admin_address(value: str) -> str:
    """`host:port`, or `unix:PATH` with a path that a socket's name has room for."""
    if not value.startswith("unix:"):
        return listen_address(value)
    path = value.removeprefix("unix:")
    if not 1 <= len(path.encode()) <= 107 or "\0" in path:
        raise ValueError("needs a path of 1 to 107 bytes after unix:")
    return value


def path_prefix(value: str) -> str:
    """A path to match, without a trailing slash.

    Stricter: percent escapes, empty segments and dot segments are refused. The gateway compares
        bytes, so a prefix with a second spelling would let a request past it that the upstream
        reads as the same path.
    """
    if "%" in value:
        raise ValueError("must be written without percent escapes")
    return _plain_path(value)


def _plain_path(value: str) -> str:
    if not _PATH.match(_ESCAPE.sub("x", value)):
        raise ValueError(
            "must start with '/' and hold no query, fragment, space or other foreign character"
        )
    if "//" in value:
        raise ValueError("must not hold '//'")
    if any(segment in (".", "..") for segment in _decoded_dots(value).split("/")):
        raise ValueError("must not hold '.' or '..' segments")
    return value.rstrip("/") or "/"


def _decoded_dots(value: str) -> str:
    return re.sub(r"(?i)%2e", ".", value)


def upstream_url(value: str) -> str:
    """An http or https URL with a host, and at most a base path beside it."""
    upstream_address(value)
    return value


def upstream_address(value: str) -> UpstreamAddress:
    """Take an upstream URL apart."""
    match = _URL.match(value)
    if match is None:
        raise ValueError("must be a URL, such as http://127.0.0.1:8001")
    scheme, authority, path, rest = match[1].lower(), match[2], match[3], match[4]
    if "@" in authority:
        raise ValueError("must not carry a user or password: put credentials into headers")
    if rest:
        raise ValueError("must not carry a query or a fragment")
    host, port = _split_authority(authority, default_port=443 if scheme == "https" else 80)
    if "%2f" in path.lower() or "%5c" in path.lower() or "%00" in path:
        raise ValueError("must not hold an encoded slash, backslash or NUL")
    base_path = _plain_path(path) if path else "/"
    own_port = (scheme, port) in {("http", 80), ("https", 443)}
    return UpstreamAddress(
        host=host.strip("[]"),
        port=port,
        tls=scheme == "https",
        authority=host if own_port else f"{host}:{port}",
        base_path="" if base_path == "/" else base_path,
    )


def _split_authority(authority: str, default_port: int) -> tuple[str, int]:
    match = re.match(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,5}))?\Z", authority)
    if match is None or not match[1]:
        raise ValueError("must name a host, and a port as digits")
    port = default_port if match[2] is None else int(match[2])
    if not 1 <= port <= 65535:
        raise ValueError("the port must be between 1 and 65535")
    return host_name(match[1]), port


def header_name(name: str) -> str:
    """The name of a field that a configuration may set."""
    if not _TOKEN.match(name):
        raise ValueError("is not a field name")
    if _canonical(name) in OWN_FIELDS:
        raise ValueError("is written by the gateway itself")
    return name


def _canonical(name: str) -> str:
    """Lower case, with `-` for `_`: upstreams that speak CGI or WSGI cannot tell those apart."""
    return name.lower().replace("_", "-")


def distinct_names(fields: dict[str, str]) -> dict[str, str]:
    """Refuse one field under two spellings."""
    seen: dict[str, str] = {}
    for name in fields:
        first = seen.setdefault(_canonical(name), name)
        if first != name:
            raise ValueError(f"{first} and {name} are the same field")
    return fields


def header_value(value: str) -> str:
    """A field value: visible ASCII, spaces and tabs, with neither at the ends.

    Stricter: bytes above ASCII are refused, because receivers decode them in different ways.
    """
    if not value.isascii():
        raise ValueError("must be ASCII")
    if any((ord(char) < 0x20 and char != "\t") or char == "\x7f" for char in value):
        raise ValueError("must not hold a line end or another control character")
    if value != value.strip(" \t"):
        raise ValueError("must not start or end with a space")
    return value


def network_address(value: str) -> str:
    """An address, or a network with nothing behind its prefix."""
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("must be an address or a network, such as 10.0.0.0/8") from None
    return value


def nonempty(items: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse a list without items."""
    if not items:
        raise ValueError("must have at least 1 item")
    return items


def worker_count(value: object) -> int | str:
    """`auto`, or a whole number of processes."""
    if value == "auto" or (
        isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024
    ):
        return value
    raise ValueError("must be auto, or a whole number from 1 to 1024")


Duration = Annotated[float, BeforeValidator(duration), Kind("seconds")]
Wait = Annotated[float, BeforeValidator(nonzero_duration), Kind("seconds above 0")]
Size = Annotated[
    int, BeforeValidator(size), Kind("size"), WithJsonSchema({"type": ["integer", "string"]})
]
NonzeroSize = Annotated[Size, Field(ge=1024)]
Count = Annotated[int, Field(ge=0, le=1_000_000), Kind("count")]
NonzeroCount = Annotated[int, Field(ge=1, le=1_000_000), Kind("count above 0")]
StatusCode = Annotated[int, Field(ge=100, le=599)]
Label = Annotated[str, AfterValidator(label), Kind("name")]
HostName = Annotated[str, AfterValidator(host_name), Kind("host")]
NetworkAddress = Annotated[str, AfterValidator(network_address)]
ListenAddress = Annotated[str, AfterValidator(listen_address), Kind("host:port")]
AdminAddress = Annotated[str, AfterValidator(admin_address), Kind("host:port")]
PathPrefix = Annotated[str, AfterValidator(path_prefix), Kind("path")]
UpstreamUrl = Annotated[str, AfterValidator(upstream_url), Kind("URL")]
HeaderName = Annotated[str, AfterValidator(header_name)]
HeaderValue = Annotated[str, AfterValidator(header_value)]
HeaderFields = Annotated[
    dict[HeaderName, HeaderValue], AfterValidator(distinct_names), Kind("map of fields")
]
WorkerCount = Annotated[
    int | Literal["auto"], BeforeValidator(worker_count), Kind("`auto` or count")
]
