"""Who may call: a wall around the whole application, with two doors.

It stands before routing, so that a route added later is protected without doing anything, and an
unknown path tells a stranger nothing.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gatewayx.admin.answer import error_answer
from gatewayx.admin.superuser import SuperuserToken

OPEN_PATHS = frozenset({"/healthz", "/ready"})
"""What probes may ask without a token. The answers tell nothing but yes or no."""


class BearerWall:
    """ASGI middleware: lets a request through when it brings the superuser token."""

    def __init__(self, app: ASGIApp, token: SuperuserToken) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._admits(scope):
            await self._app(scope, receive, send)
            return
        answer = error_answer(401, "the superuser token is missing or wrong", "unauthenticated")
        answer.headers["WWW-Authenticate"] = 'Bearer realm="gatewayx"'
        await answer(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        fields = Headers(scope=scope).getlist("authorization")
        if len(fields) != 1:
            return False
        scheme, _, offered = fields[0].partition(" ")
        return scheme.lower() == "bearer" and self._token.matches(offered.strip(" "))
