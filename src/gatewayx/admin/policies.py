"""Fault policies: `/v1/policies`, and a stream of their changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from gatewayx.admin.answer import error_answer
from gatewayx.admin.requests import actor
from gatewayx.chaos import PolicyBook, RoomError, policies_of
from gatewayx.config import ConfigError, Fault
from gatewayx.config.source import FILE_MAX_BYTES, read_documents

_JSON = "application/json"


def policy_router(book: PolicyBook) -> APIRouter:
    """The routes under `/v1`."""
    router = APIRouter(prefix="/v1")

    @router.get("/policies", summary="Every fault policy")
    async def policies() -> dict[str, Any]:
        return {"policies": [{**book.shown(one), "status": book.status(one)} for one in book.all()]}

    @router.post(
        "/policies",
        summary="Create or replace policies: JSON (one, or a list), or YAML documents",
        responses=_REFUSALS,
    )
    async def apply(request: Request, dry_run: bool = False) -> Response:
        return await _apply(request, book, None, dry_run=dry_run)

    @router.post("/policies/disable-all", summary="The kill switch: switch every policy off")
    async def disable_all(request: Request) -> dict[str, Any]:
        names = [one.policy.name for one in book.all()]
        changed = await book.enable(names, False, actor(request))
        return {"disabled": [one.policy.name for one in changed]}

    @router.get("/policies/{name}", summary="One policy", responses=_UNKNOWN)
    async def policy(name: str) -> Response:
        one = book.find(name)
        if one is None:
            return _unknown(name)
        return JSONResponse({**book.shown(one), "status": book.status(one)})

    @router.put("/policies/{name}", summary="Create or replace one policy", responses=_REFUSALS)
    async def put(name: str, request: Request, dry_run: bool = False) -> Response:
        return await _apply(request, book, name, dry_run=dry_run)

    @router.delete("/policies/{name}", summary="Forget a policy", responses=_UNKNOWN)
    async def delete(name: str, request: Request) -> Response:
        if book.find(name) is None:
            return _unknown(name)
        await book.delete(name, actor(request))
        return Response(status_code=204)

    @router.get(
        "/policies/{name}/status", summary="What a policy does and has done", responses=_UNKNOWN
    )
    async def status(name: str) -> Response:
        one = book.find(name)
        return _unknown(name) if one is None else JSONResponse(book.status(one))

    @router.post("/policies/{name}/enable", summary="Switch a policy on", responses=_UNKNOWN)
    async def enable(name: str, request: Request) -> Response:
        return await _switch(request, book, name, enabled=True)

    @router.post("/policies/{name}/disable", summary="Switch a policy off", responses=_UNKNOWN)
    async def disable(name: str, request: Request) -> Response:
        return await _switch(request, book, name, enabled=False)

    @router.get(
        "/config/stream",
        summary="Server-sent events: the full set, then changes",
        response_class=StreamingResponse,
        responses={
            200: {"description": "Events", "content": {"text/event-stream": {"schema": {}}}}
        },
    )
    async def stream() -> Response:
        return StreamingResponse(
            _events(book), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    @router.get("/health", summary="Whether policies are served, and how many")
    async def health() -> dict[str, Any]:
        states = [book.status(one)["active"] for one in book.all()]
        return {
            "status": "ok",
            "policies": len(states),
            "active": sum(states),
            "revision": book.revision,
        }

    return router


async def _apply(
    request: Request, book: PolicyBook, name: str | None, *, dry_run: bool
) -> Response:
    try:
        documents, single = _documents(
            request.headers.get("content-type", _JSON), await _body(request)
        )
        policies = policies_of(documents)
        if name is not None and [policy.name for policy in policies] != [name]:
            raise ConfigError([Fault("metadata.name", f"must be {name}, as in the path")])
    except ConfigError as error:
        faults = [asdict(fault) for fault in error.faults]
        details = "the policies have faults; nothing changed"
        return error_answer(422, details, "invalid", faults=faults)
    if dry_run:
        return JSONResponse({"valid": [policy.name for policy in policies]})
    created = any(book.find(policy.name) is None for policy in policies)
    try:
        applied = await book.apply(policies, actor(request))
    except RoomError as error:
        return error_answer(409, f"{error}; nothing changed", "no_room")
    shown = [book.shown(one) for one in applied]
    body = shown[0] if single else {"policies": shown}
    return JSONResponse(body, status_code=201 if created else 200)


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > FILE_MAX_BYTES:
            raise ConfigError([Fault("", f"is larger than {FILE_MAX_BYTES >> 20} MiB")])
    return body


def _documents(content_type: str, body: bytes) -> tuple[list[object], bool]:
    """The documents of a body, and whether it is a single one."""
    try:
        text = body.decode("utf-8")
        if "yaml" in content_type:
            sources = read_documents("body", text)
            return [source.data for source in sources], len(sources) == 1
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([Fault("", f"is not {content_type}: {error}")]) from None
    if isinstance(data, dict) and data.keys() == {"policies"}:
        data = data["policies"]
    return (data, False) if isinstance(data, list) else ([data], True)


async def _switch(request: Request, book: PolicyBook, name: str, *, enabled: bool) -> Response:
    if book.find(name) is None:
        return _unknown(name)
    await book.enable([name], enabled, actor(request))
    one = book.find(name)
    return _unknown(name) if one is None else JSONResponse(book.status(one))


async def _events(book: PolicyBook) -> AsyncIterator[str]:
    async for change in book.changes():
        if change is None:
            yield ": still here\n\n"
        else:
            kind, data = change
            yield f"event: {kind}\nid: {data['revision']}\ndata: {json.dumps(data)}\n\n"


def _unknown(name: str) -> Response:
    return error_answer(404, f"there is no policy {name}", "not_found")


_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No such policy"}}

_REFUSALS: dict[int | str, dict[str, Any]] = {
    201: {"description": "At least one of them is new"},
    409: {"description": "Valid, but there is no room; nothing changed"},
    422: {"description": "Every fault of the policies; nothing changed"},
}
