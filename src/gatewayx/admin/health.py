"""What active health checks know of a proxy's upstreams."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from gatewayx.admin.answer import error_answer
from gatewayx.admin.state import AdminState


def health_router(state: AdminState) -> APIRouter:
    """`/api/gateway/proxies/{name}/health`."""
    router = APIRouter()

    @router.get(
        "/api/gateway/proxies/{name}/health",
        summary="What health checks know of a proxy's upstreams; empty without checks",
        responses={404: {"description": "No such proxy"}},
    )
    async def health(name: str) -> Response:
        if all(proxy.name != name for proxy in state.config.proxies):
            return error_answer(404, f"there is no proxy {name}", "not_found")
        return JSONResponse({"proxy": name, "upstreams": state.health(name)})

    return router
