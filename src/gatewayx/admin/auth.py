"""Who may call: a wall around the whole application, with two doors.

It stands before routing, so that a route added later is protected without doing anything, and an
unknown path tells a stranger nothing. In order: the Host that a browser was led to, the Origin of a
page that a browser shows, the token, and how often the address has guessed.
"""

from __future__ import annotations

import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gatewayx.admin.answer import error_answer
from gatewayx.admin.superuser import SuperuserToken

if TYPE_CHECKING:
    from gatewayx.store import TokenCheck

OPEN_PATHS = frozenset({"/healthz", "/ready"})
"""What probes may ask without a token. The answers tell nothing but yes or no."""

ACTOR = "gatewayx.actor"
"""Where the scope says who calls."""

GUESSES_MAX_COUNT = 10
LOCK_SECONDS = 60.0
"""So many wrong tokens from one address within this time lock it out for as long."""

ADDRESSES_MAX_COUNT = 1024
"""Addresses that are remembered; the ones that have been quiet longest are forgotten."""

_GIVEN = "superuser"


class BearerWall:
    """ASGI middleware: lets a request through when it brings a superuser token."""

    def __init__(
        self,
        app: ASGIApp,
        token: SuperuserToken | None,
        tokens: TokenCheck | None = None,
        hosts: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the token that was given or made at start, and what knows those of the store."""
        self._app = app
        self._token = token
        self._tokens = tokens
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        self._guesses = Guesses(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, 403, 421 or 429."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._knows_host(headers.getlist("host")):
            return error_answer(421, "this is not the host of the admin API", "wrong_host")
        if not _same_origin(headers):
            return error_answer(403, "pages of other sites may not call", "wrong_origin")
        client = scope.get("client")
        address = client[0] if client else "unix"
        wait_seconds = self._guesses.locked(address)
        if wait_seconds:
            answer = error_answer(429, "too many wrong tokens from this address", "locked_out")
            answer.headers["Retry-After"] = str(wait_seconds)
            return answer
        offered = _offered(headers, scope["method"])
        actor = None if offered is None else self._actor(offered)
        if actor is not None:
            self._guesses.forget(address)
            scope[ACTOR] = actor
            return None
        if offered:
            self._guesses.add(address)
        answer = error_answer(401, "the superuser token is missing or wrong", "unauthenticated")
        # Basic, with the token as password, is how a browser asks its user; scripts must not.
        scheme = "Basic" if "text/html" in headers.get("accept", "") else "Bearer"
        answer.headers["WWW-Authenticate"] = f'{scheme} realm="gatewayx"'
        return answer

    def _actor(self, offered: str) -> str | None:
        if self._token is not None and self._token.matches(offered):
            return _GIVEN
        found = None if self._tokens is None else self._tokens.admits(offered)
        return None if found is None else f"token {found}"

    def _knows_host(self, fields: list[str]) -> bool:
        """A name that leads here, or a bare address, which no stranger's DNS can rebind."""
        if len(fields) != 1:
            return False
        name = _host_name(fields[0])
        return name in self._hosts or _is_address(name)


class Guesses:
    """Wrong tokens by address, for as long as they count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def add(self, address: str) -> None:
        """Count one."""
        count, until = self._by_address.pop(address, (0, 0.0))
        now = self._clock()
        self._by_address[address] = ((count if now < until else 0) + 1, now + LOCK_SECONDS)
        if len(self._by_address) > ADDRESSES_MAX_COUNT:
            self._by_address.popitem(last=False)

    def forget(self, address: str) -> None:
        """The right token came."""
        self._by_address.pop(address, None)

    def locked(self, address: str) -> int:
        """Whole seconds until the address may try again; 0 when it may."""
        count, until = self._by_address.get(address, (0, 0.0))
        left = until - self._clock()
        return int(left) + 1 if count >= GUESSES_MAX_COUNT and left > 0 else 0


def _offered(headers: Headers, method: str) -> str | None:
    fields = headers.getlist("authorization")
    if len(fields) != 1:
        return None if not fields else ""
    scheme, _, rest = fields[0].partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip(" ")
    # A browser adds Basic to whatever a page asks of it, so it may only read.
    if scheme.lower() == "basic" and method in ("GET", "HEAD"):
        try:
            return b64decode(rest.strip(" "), validate=True).decode().partition(":")[2]
        except (Base64Error, UnicodeDecodeError):
            return ""
    return ""


def _same_origin(headers: Headers) -> bool:
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2].lower() == headers["host"].lower()


def _host_name(authority: str) -> str:
    host = authority.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
