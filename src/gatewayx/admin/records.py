"""`/api/gateway/tokens`, `/secrets` and `/audit`: what the store keeps besides proxies."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from gatewayx.admin.requests import WRITING, actor, refusals
from gatewayx.admin.state import NoStoreError

if TYPE_CHECKING:
    from gatewayx.admin.control import ControlPlane

Name = Annotated[str, Path(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
_READING = refusals(_409="The gateway has no store", _503="The store does not answer")
_MS_MAX = 1 << 53


class TokenForm(BaseModel):
    """What a new token is for."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    label: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[ -~]+$")]
    superuser: bool = Field(default=False, description="Whether it opens the admin API.")
    claims: Annotated[
        dict[str, str | bool | int], Field(max_length=64, description="For access rules.")
    ] = {}
    expires_ms: Annotated[int, Field(ge=0, le=_MS_MAX)] | None = Field(
        default=None, description="Milliseconds since 1970; absent for never."
    )


class TokenAnswer(BaseModel):
    """What may be told of a token."""

    id: str
    label: str
    superuser: bool
    claims: dict[str, Any]
    expires_ms: int | None
    created_ms: int
    created_by: str
    revoked_ms: int | None


class MadeTokenAnswer(TokenAnswer):
    """A new token; its text is not shown again."""

    token: str


class TokensAnswer(BaseModel):
    """Every token that has not been revoked."""

    tokens: list[TokenAnswer]


class SecretForm(BaseModel):
    """A secret's text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Annotated[SecretStr, Field(min_length=1, max_length=65536)]


class SecretAnswer(BaseModel):
    """That a secret is there."""

    name: str
    created_ms: int
    updated_ms: int


class SecretsAnswer(BaseModel):
    """The names of all secrets."""

    secrets: list[SecretAnswer]


class EntryAnswer(BaseModel):
    """Who did what."""

    id: int
    at_ms: int
    actor: str
    action: str
    kind: str
    name: str
    detail: dict[str, Any] | None


class AuditAnswer(BaseModel):
    """The newest entries first."""

    entries: list[EntryAnswer]


def records_router(control: ControlPlane | None) -> APIRouter:
    """The routes; without a store they answer 409."""
    router = APIRouter(prefix="/api/gateway", tags=["store"])

    def stored() -> ControlPlane:
        if control is None:
            raise NoStoreError("the gateway was started without a store")
        return control

    @router.get("/tokens", summary="API tokens", response_model=TokensAnswer, responses=_READING)
    async def tokens() -> Response:
        plane = stored()
        rows = await plane.call(plane.store.tokens.all)
        return JSONResponse({"tokens": [asdict(row) for row in rows]})

    @router.post(
        "/tokens",
        summary="Make an API token; its text is shown this once",
        status_code=201,
        response_model=MadeTokenAnswer,
        responses=WRITING,
    )
    async def make_token(request: Request, form: Annotated[TokenForm, Body()]) -> Response:
        plane = stored()
        made = await plane.write(
            plane.store.tokens.create,
            form.label,
            actor(request),
            superuser=form.superuser,
            claims=form.claims,
            expires_ms=form.expires_ms,
        )
        answer = {**asdict(made.token), "token": made.text}
        return JSONResponse(answer, 201, headers={"Cache-Control": "no-store"})

    @router.delete(
        "/tokens/{token_id}",
        summary="Revoke an API token",
        status_code=204,
        responses={**WRITING, **refusals(_404="No such token")},
    )
    async def revoke(token_id: str, request: Request) -> Response:
        plane = stored()
        await plane.write(plane.store.tokens.revoke, token_id, actor(request))
        return Response(status_code=204)

    @router.get(
        "/secrets",
        summary="The names of secrets",
        response_model=SecretsAnswer,
        responses=_READING,
    )
    async def secrets() -> Response:
        plane = stored()
        rows = await plane.call(plane.store.secrets.all)
        return JSONResponse({"secrets": [asdict(row) for row in rows]})

    @router.put(
        "/secrets/{name}",
        summary="Set a secret; it cannot be read back",
        status_code=204,
        responses=WRITING,
    )
    async def put_secret(
        name: Name, request: Request, form: Annotated[SecretForm, Body()]
    ) -> Response:
        plane = stored()
        text = form.value.get_secret_value()
        await plane.write(plane.store.secrets.put, name, text, actor(request))
        return Response(status_code=204)

    @router.delete(
        "/secrets/{name}",
        summary="Delete a secret",
        status_code=204,
        responses={**WRITING, **refusals(_404="No such secret")},
    )
    async def delete_secret(name: Name, request: Request) -> Response:
        plane = stored()
        await plane.write(plane.store.secrets.delete, name, actor(request))
        return Response(status_code=204)

    @router.get(
        "/audit",
        summary="Who did what, the newest first",
        response_model=AuditAnswer,
        responses={**_READING, **refusals(_422="A bad limit")},
    )
    async def audit(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, le=_MS_MAX)] = None,
    ) -> Response:
        plane = stored()
        rows = await plane.call(plane.store.audit.entries, limit=limit, before=before)
        return JSONResponse({"entries": [asdict(row) for row in rows]})

    return router
