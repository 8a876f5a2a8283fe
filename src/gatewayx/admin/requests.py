"""What routes share: bodies, entity tags, who calls, and errors from the layers below."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from gatewayx.admin.answer import error_answer
from gatewayx.admin.auth import ACTOR
from gatewayx.admin.state import NoStoreError, ReloadError
from gatewayx.config import ConfigError, Fault
from gatewayx.config.fault import dotted
from gatewayx.store.errors import (
    AlreadyExists,
    NotStored,
    StoreError,
    StoreUnavailable,
    VersionConflict,
)

BODY_MAX_BYTES = 1 << 20

_ETAG = re.compile(r'"(\d{1,18})"\Z')


class FaultAnswer(BaseModel):
    """One thing that is wrong, and where."""

    path: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None


class ErrorAnswer(BaseModel):
    """How every error of the gateway looks."""

    model_config = ConfigDict(extra="allow")

    error: str
    details: str
    reason: str
    faults: list[FaultAnswer] | None = None


def refusals(**texts: str) -> dict[int | str, dict[str, Any]]:
    """Documents error answers: `refusals(_404="No such proxy")`."""
    return {
        int(status.strip("_")): {"description": text, "model": ErrorAnswer}
        for status, text in texts.items()
    }


EVERYWHERE = refusals(
    _401="The superuser token is missing or wrong",
    _403="A page of another site calls",
    _421="The Host is not this gateway's",
    _429="Too many wrong tokens from this address",
)
"""What the wall answers, whatever the route."""

WRITING = refusals(
    _400="The body is not JSON",
    _409="The gateway has no store, or what is stored cannot be put in force",
    _413="The body is too large",
    _422="Every fault of the body; nothing changed",
    _503="The store does not answer; nothing changed",
)
"""What a route that writes may answer."""


def actor(request: Request) -> str:
    """Who calls, for the audit log."""
    return str(request.scope.get(ACTOR, "unknown"))


def body_of(schema: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    """Document a body that the route reads by itself."""
    content = {"application/json": {"schema": dict(schema)}}
    return {"requestBody": {"content": content, "required": required}}


async def read_json(request: Request) -> Any:
    """The body's JSON. Raises `HTTPException` 400 or 413."""
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > BODY_MAX_BYTES:
            raise HTTPException(413, f"a body has at most {BODY_MAX_BYTES} bytes")
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def expected_version(request: Request) -> int | None:
    """What If-Match and If-None-Match ask for: a version, 0 for none, None for any.

    Raises `HTTPException` 412 for a tag that the gateway has never given.
    """
    if request.headers.get("if-none-match", "").strip() == "*":
        return 0
    given = request.headers.get("if-match")
    if given is None or given.strip() == "*":
        return None
    match = _ETAG.match(given.strip())
    if match is None:
        raise HTTPException(412, "If-Match is no tag of this gateway")
    return int(match[1])


def etag(version: int) -> dict[str, str]:
    """The header that names a version."""
    return {"ETag": f'"{version}"'}


def install_errors(app: FastAPI) -> None:
    """Answer the errors of configuration and store in the gateway's own shape."""
    for kind in (ConfigError, NoStoreError, ReloadError, StoreError, RequestValidationError):
        app.add_exception_handler(kind, _answer)


async def _answer(_: Request, error: Exception) -> Response:
    match error:
        case ConfigError():
            return _faulty(error.faults)
        case RequestValidationError():
            found = [Fault(dotted(item["loc"]), item["msg"]) for item in error.errors()]
            return _faulty(found)
        case NotStored():
            return error_answer(404, str(error), "not_found")
        case AlreadyExists():
            return error_answer(409, str(error), "exists")
        case VersionConflict():
            return error_answer(412, str(error), "version_conflict", version=error.version)
        case StoreUnavailable():
            return error_answer(503, str(error), "store_unavailable")
        case NoStoreError():
            return error_answer(409, str(error), "no_store")
        case ReloadError():
            return error_answer(409, str(error), "not_in_force")
    return error_answer(409, str(error), "store_unusable")


def _faulty(faults: Any) -> Response:
    details = "nothing changed; each fault says where it is"
    return error_answer(422, details, "invalid", faults=[asdict(fault) for fault in faults])
