"""The routes of the admin API.

Handlers read the state and write JSON or text; each is quick enough to run on the supervisor's
loop, which carries no traffic. No page refers to anything outside the gateway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from gatewayx import __version__
from gatewayx.admin.answer import error_answer
from gatewayx.admin.auth import BearerWall
from gatewayx.admin.breaker import breaker_router
from gatewayx.admin.docs import docs_router
from gatewayx.admin.health import health_router
from gatewayx.admin.live import live_router
from gatewayx.admin.operation import operation_router
from gatewayx.admin.policies import policy_router
from gatewayx.admin.proxies import proxies_router
from gatewayx.admin.records import records_router
from gatewayx.admin.requests import EVERYWHERE, install_errors
from gatewayx.admin.state import AdminState
from gatewayx.admin.superuser import SuperuserToken

if TYPE_CHECKING:
    from gatewayx.admin.control import ControlPlane


def create_app(
    state: AdminState, token: SuperuserToken | None, control: ControlPlane | None = None
) -> FastAPI:
    """Build the application. It keeps no state of its own but who has guessed tokens."""
    app = FastAPI(
        title="GatewayX admin",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        responses=EVERYWHERE,
    )
    admin = state.config.admin
    app.add_middleware(
        BearerWall,
        token=token,
        tokens=None if control is None else control.tokens,
        hosts=(*admin.hosts, admin.host_name),
    )
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)
    install_errors(app)
    for router in (
        operation_router(state, control),
        proxies_router(state, control),
        records_router(control),
        live_router(state),
        breaker_router(state),
        health_router(state),
        policy_router(state.policies),
        docs_router(app),
    ):
        app.include_router(router)
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = f"{request.method} {request.url.path}: {error.detail}"
    answer = error_answer(error.status_code, details, _REASONS.get(error.status_code, "error"))
    answer.headers.update(error.headers or {})
    return answer


async def _internal_error(request: Request, error: Exception) -> Response:
    return error_answer(500, "the gateway's log tells more", "internal_error")


_REASONS = {
    400: "bad_json",
    404: "not_found",
    405: "method_not_allowed",
    412: "version_conflict",
    413: "too_large",
    503: "busy",
}
