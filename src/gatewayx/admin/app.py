"""The routes of the admin API.

Handlers read the state and write JSON or text; each is quick enough to run on the supervisor's
loop, which carries no traffic. No page refers to anything outside the gateway.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gatewayx import __version__
from gatewayx.admin.answer import error_answer
from gatewayx.admin.auth import BearerWall
from gatewayx.admin.breaker import breaker_router
from gatewayx.admin.health import health_router
from gatewayx.admin.metrics import Exposition, as_json
from gatewayx.admin.redact import shown_proxy
from gatewayx.admin.state import AdminState, ReloadError
from gatewayx.admin.superuser import SuperuserToken
from gatewayx.config import ConfigError


def create_app(state: AdminState, token: SuperuserToken) -> FastAPI:
    """Build the application. It keeps no state of its own."""
    app = FastAPI(title="GatewayX admin", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(BearerWall, token=token)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)
    exposition = Exposition(state.metrics)
    app.include_router(breaker_router(state))
    app.include_router(health_router(state))

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", summary="Whether the supervisor answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready", summary="Whether the gateway accepts requests")
    async def ready() -> JSONResponse:
        if state.ready():
            return JSONResponse({"status": "ready"})
        return error_answer(503, "no worker accepts requests", "not_ready")

    @app.get("/stats/prometheus", summary="The same, where Envoy has it")
    @app.get("/api/gateway/metrics", summary="Metrics for Prometheus")
    async def metrics(request: Request) -> Response:
        page, content_type = exposition.render(request.headers.get("accept", ""))
        return Response(page, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    @app.get("/api/gateway/proxies", summary="The proxies in force, secrets hidden")
    async def proxies() -> dict[str, Any]:
        return {"proxies": [shown_proxy(proxy) for proxy in state.config.proxies]}

    @app.get("/api/gateway/stats", summary="The metrics as JSON, and the workers")
    async def stats() -> dict[str, Any]:
        return {"workers": list(state.workers()), "metrics": as_json(state.metrics())}

    @app.post("/api/gateway/reload", summary="Read the configuration again", responses=_REFUSALS)
    async def reload() -> Response:
        try:
            return JSONResponse({"changes": await state.reload()})
        except ConfigError as error:
            faults = [asdict(fault) for fault in error.faults]
            details = "the configuration has faults; nothing changed"
            return error_answer(422, details, "invalid", faults=faults)
        except ReloadError as error:
            return error_answer(409, str(error), "not_reloaded")

    return app


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = f"{request.method} {request.url.path}: {error.detail}"
    answer = error_answer(error.status_code, details, _REASONS.get(error.status_code, "error"))
    answer.headers.update(error.headers or {})
    return answer


async def _internal_error(request: Request, error: Exception) -> Response:
    return error_answer(500, "the gateway's log tells more", "internal_error")


_REFUSALS: dict[int | str, dict[str, Any]] = {
    409: {"description": "Valid, but it cannot be put in force; nothing changed"},
    422: {"description": "Every fault of the configuration; nothing changed"},
}

_REASONS = {404: "not_found", 405: "method_not_allowed"}
