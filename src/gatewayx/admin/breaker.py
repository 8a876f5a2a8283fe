"""A proxy's circuit breaker, by hand: an operator knows what the gateway cannot."""

from __future__ import annotations

import json
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from gatewayx.admin.answer import error_answer
from gatewayx.admin.state import AdminState, NoBreakerError

BODY_MAX_BYTES = 1024


class BreakerForm(BaseModel):
    """What the breaker is to do until told otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Literal["open", "closed", "auto"]


_BODY = {"content": {"application/json": {"schema": BreakerForm.model_json_schema()}}}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such proxy"},
    409: {"description": "The proxy has no circuit breaker"},
    422: {"description": "Neither open nor closed nor auto"},
}


def breaker_router(state: AdminState) -> APIRouter:
    """`/api/gateway/proxies/{name}/breaker`: read what it is forced to, and force it."""
    router = APIRouter(prefix="/api/gateway/proxies/{name}/breaker")

    def answer(name: str) -> Response:
        return JSONResponse({"proxy": name, "state": state.forced_breaker(name)})

    @router.get("", summary="What the circuit breaker is forced to", responses=_REFUSALS)
    async def read(name: str) -> Response:
        try:
            return answer(name)
        except (KeyError, NoBreakerError) as error:
            return _refusal(name, error)

    @router.post(
        "",
        summary="Keep the circuit breaker open or closed in every worker, or have it decide again",
        description="`auto` also resets it: it is closed and forgets what it has counted.",
        responses=_REFUSALS,
        openapi_extra={"requestBody": _BODY},
    )
    async def force(name: str, request: Request) -> Response:
        try:
            form = BreakerForm.model_validate_json(await _body(request))
        except (ValidationError, json.JSONDecodeError):
            details = 'the body must be {"state": "open"}, or "closed", or "auto"'
            return error_answer(422, details, "invalid")
        try:
            state.force_breaker(name, form.state)
            return answer(name)
        except (KeyError, NoBreakerError) as error:
            return _refusal(name, error)

    return router


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_MAX_BYTES:
            return b""
    return body


def _refusal(name: str, error: Exception) -> Response:
    if isinstance(error, NoBreakerError):
        return error_answer(409, f"proxy {name} has no circuit breaker", "no_breaker")
    return error_answer(404, f"there is no proxy {name}", "not_found")
