"""Names to addresses: looked up once for many dials, and again while they are in use.

A lookup costs a thread and up to seconds; a thousand dials that begin at once must not make a
thousand of them. So an answer is kept for `ttl` (a resolver's own time to live cannot be had from
the operating system), a refusal for `negative_ttl`, and all who ask meanwhile wait for the same
lookup. A name with open connections is looked up again every `ttl`, and connections to addresses
that it no longer has are given up: without that, a busy pool would never learn that it moved.

A lookup that fails for another reason than that the name does not exist says nothing about the
name: what was known of it is used on, for `STALE_SECONDS` at most (RFC 8767).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

NAMES_MAX_COUNT = 4096
"""Names that are kept; more than a configuration has upstreams, as one may replace another."""

TTL_SECONDS = 10.0
NEGATIVE_TTL_SECONDS = 1.0
STALE_SECONDS = 3600.0

_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a connection can be opened.

    Attributes:
        family: `AF_INET` or `AF_INET6`.
        target: For `connect`.
    """

    family: int
    target: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

    @property
    def ip(self) -> str:
        """Without port and zone."""
        return str(self.target[0]).partition("%")[0]


Addresses = tuple[Address, ...]
Lookup = Callable[[str, int], Awaitable[Addresses]]
Keep = Callable[[str, int, list[str]], int]


async def look_up(host: str, port: int) -> Addresses:
    """Ask the operating system. Raises `OSError`, or `UnicodeError` for what is no name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(Address(family, target) for family, _, _, _, target in found))


@dataclass(slots=True)
class _Name:
    addresses: Addresses = ()
    failure: OSError | UnicodeError | None = None
    fresh_until: float = 0.0
    usable_until: float = 0.0
    lookup: asyncio.Task[None] | None = None
    refresh: asyncio.TimerHandle | None = None
    turn: int = 0


class Resolver:
    """What one worker knows of names.

    Attributes:
        ttl: Seconds that an answer is kept.
        negative_ttl: Seconds that a refusal is kept.
    """

    def __init__(
        self,
        keep: Keep,
        *,
        lookup: Lookup | None = None,
    ) -> None:
        """`keep(host, port, ips)` gives up connections to other addresses and counts the rest."""
        self.ttl = TTL_SECONDS
        self.negative_ttl = NEGATIVE_TTL_SECONDS
        self._keep = keep
        self._lookup = lookup or look_up
        self._loop = asyncio.get_running_loop()
        self._names: dict[tuple[str, int], _Name] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def configure(
        self, *, ttl: float = TTL_SECONDS, negative_ttl: float = NEGATIVE_TTL_SECONDS
    ) -> None:
        """Keep what is looked up from now on for other times."""
        self.ttl, self.negative_ttl = ttl, negative_ttl

    async def addresses(self, host: str, port: int) -> Addresses:
        """All addresses of a name, each call beginning with another one.

        Raises:
            OSError: When there is none.
            UnicodeError: When it is no name.
        """
        literal = _literal(host, port)
        if literal is not None:
            return (literal,)
        name = self._name(host, port)
        if self._loop.time() >= name.fresh_until:
            # Shielded: whoever gives up must not take the answer from the others who wait.
            await asyncio.shield(self._begin(host, port, name))
        if name.failure is not None:
            raise name.failure.with_traceback(None)
        if name.refresh is None:
            name.refresh = self._loop.call_later(self.ttl, self._refresh, host, port, name)
        name.turn += 1
        return _interleaved(name.addresses, name.turn)

    def close(self) -> None:
        """Look nothing up any more."""
        for name in self._names.values():
            if name.refresh is not None:
                name.refresh.cancel()
        for task in self._tasks:
            task.cancel()

    def _name(self, host: str, port: int) -> _Name:
        name = self._names.get((host, port))
        if name is None:
            if len(self._names) >= NAMES_MAX_COUNT:
                self._forget()
            name = self._names[host, port] = _Name()
        return name

    def _forget(self) -> None:
        """Make room: the oldest goes that nobody looks up or uses."""
        for key, name in self._names.items():
            if name.lookup is None and name.refresh is None:
                del self._names[key]
                return

    def _begin(self, host: str, port: int, name: _Name) -> asyncio.Task[None]:
        if name.lookup is None:
            name.lookup = self._loop.create_task(self._look_up(host, port, name))
            self._tasks.add(name.lookup)
            name.lookup.add_done_callback(self._tasks.discard)
        return name.lookup

    async def _look_up(self, host: str, port: int, name: _Name) -> None:
        try:
            addresses = await self._lookup(host, port)
        except (OSError, UnicodeError) as failure:
            now = self._loop.time()
            is_final = not isinstance(failure, socket.gaierror) or failure.errno in _NO_SUCH_NAME
            if is_final or not name.addresses or now >= name.usable_until:
                name.addresses, name.failure = (), failure
            name.fresh_until = now + self.negative_ttl
        else:
            now = self._loop.time()
            name.addresses, name.failure = addresses, None
            name.fresh_until, name.usable_until = now + self.ttl, now + STALE_SECONDS
        finally:
            name.lookup = None

    def _refresh(self, host: str, port: int, name: _Name) -> None:
        task = self._loop.create_task(self._refresh_once(host, port, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refresh_once(self, host: str, port: int, name: _Name) -> None:
        await self._begin(host, port, name)
        # A name that is not known at the moment has not moved: what is open stays.
        known = [address.ip for address in name.addresses]
        is_used = not known or self._keep(host, port, known) > 0
        name.refresh = None
        if is_used and known:
            name.refresh = self._loop.call_later(self.ttl, self._refresh, host, port, name)


def _literal(host: str, port: int) -> Address | None:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return Address(socket.AF_INET, (host, port))
    # One with a zone needs the operating system to number it.
    return None if ip.scope_id else Address(socket.AF_INET6, (host, port, 0, 0))


def _interleaved(addresses: Addresses, turn: int) -> Addresses:
    """The families in turn (RFC 8305 section 4), the first one's first; within each, another one
    first at every turn, so that the addresses of a name share the connections."""
    if len(addresses) < 2:
        return addresses
    first = addresses[0].family
    families = (
        [address for address in addresses if address.family == first],
        [address for address in addresses if address.family != first],
    )
    turned = [[*one[turn % len(one) :], *one[: turn % len(one)]] for one in families if one]
    longest = max(map(len, turned))
    return tuple(one[index] for index in range(longest) for one in turned if index < len(one))
