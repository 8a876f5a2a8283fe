"""Health, metrics, the configuration in force, reload and drain."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gatewayx.admin.answer import error_answer
from gatewayx.admin.metrics import OPENMETRICS_TYPE, Exposition, as_json
from gatewayx.admin.redact import shown_config
from gatewayx.admin.requests import actor, refusals
from gatewayx.admin.state import AdminState, ReloadError
from gatewayx.config import ConfigError

if TYPE_CHECKING:
    from gatewayx.admin.control import ControlPlane

_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The page",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            OPENMETRICS_TYPE.partition(";")[0]: {"schema": {"type": "string"}},
        },
    }
}


def operation_router(state: AdminState, control: ControlPlane | None) -> APIRouter:
    """The routes; each is quick enough for the supervisor's loop."""
    router = APIRouter(tags=["operation"])
    exposition = Exposition(state.metrics_text)

    async def audit(request: Request, action: str, detail: dict[str, Any] | None = None) -> None:
        if control is not None and not control.away:
            log = control.store.audit
            await control.call(log.add, actor(request), action, "gateway", "", detail)

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", summary="Whether the supervisor answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.head("/ready", include_in_schema=False)
    @router.get(
        "/ready",
        summary="Whether the gateway accepts requests",
        responses=refusals(_503="It does not"),
    )
    async def ready() -> JSONResponse:
        if state.ready():
            return JSONResponse({"status": "ready"})
        return error_answer(503, "no worker accepts requests", "not_ready")

    @router.get(
        "/stats/prometheus",
        summary="The same, where Envoy has it",
        response_class=Response,
        responses=_PAGE,
    )
    @router.get(
        "/api/gateway/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses=_PAGE,
    )
    async def metrics(request: Request) -> Response:
        page, content_type = exposition.render(request.headers.get("accept", ""))
        return Response(page, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    @router.get("/stats", summary="The same, where Envoy has it")
    @router.get("/api/gateway/stats", summary="The metrics as JSON, and the workers")
    async def stats() -> dict[str, Any]:
        return {"workers": list(state.workers()), "metrics": as_json(state.metrics())}

    @router.get("/config_dump", summary="The configuration in force, secrets hidden")
    async def config_dump() -> dict[str, Any]:
        left_out = () if control is None else control.combined.entries
        return {
            "config": shown_config(state.config),
            "left_out": [
                {
                    "name": entry.name,
                    "version": entry.version,
                    "faults": [asdict(fault) for fault in entry.faults],
                }
                for entry in left_out
                if entry.faults
            ],
        }

    @router.post(
        "/api/gateway/reload",
        summary="Read the configuration again",
        responses=refusals(
            _409="Valid, but it cannot be put in force; nothing changed",
            _422="Every fault of the configuration; nothing changed",
        ),
    )
    async def reload(request: Request) -> Response:
        try:
            changes = await state.reload()
        except ConfigError as error:
            faults = [asdict(fault) for fault in error.faults]
            details = "the configuration has faults; nothing changed"
            return error_answer(422, details, "invalid", faults=faults)
        except ReloadError as error:
            return error_answer(409, str(error), "not_reloaded")
        await audit(request, "reload", {"changes": changes})
        return JSONResponse({"changes": changes})

    @router.post(
        "/api/gateway/drain",
        summary="Stop accepting, finish what is under way, end",
        status_code=202,
    )
    async def drain(request: Request) -> dict[str, str]:
        await audit(request, "drain")
        state.drain()
        return {"status": "draining"}

    return router
