"""`/api/gateway/proxies`: what is in force, and changing what is stored.

A file's proxies can be read here and not changed. Every change is a version; `ETag` and `If-Match`
keep two operators from undoing each other's work unseen.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from gatewayx.admin.redact import keep_hidden, shown_document, shown_proxy
from gatewayx.admin.requests import (
    WRITING,
    FaultAnswer,
    actor,
    body_of,
    etag,
    expected_version,
    read_json,
    refusals,
)
from gatewayx.admin.state import AdminState, NoStoreError
from gatewayx.config import ConfigError, Fault, ProxyConfig
from gatewayx.store.errors import AlreadyExists, VersionConflict
from gatewayx.store.records import Entry, StoredRevision

if TYPE_CHECKING:
    from gatewayx.admin.control import ControlPlane


class ProxyAnswer(BaseModel):
    """A proxy, where it comes from, and whether it is in force."""

    name: str
    source: Literal["file", "store"]
    version: int = Field(description="Of a stored one; 0 for the file's.")
    in_force: bool
    faults: list[FaultAnswer] = Field(description="Why it is not in force.")
    proxy: dict[str, Any] | None = Field(description="Its settings; header values are hidden.")


class ProxiesAnswer(BaseModel):
    """Every proxy, in force or not."""

    proxies: list[ProxyAnswer]


class RevisionAnswer(BaseModel):
    """One version; without a proxy it is a deletion."""

    version: int
    at_ms: int
    actor: str
    proxy: dict[str, Any] | None


class HistoryAnswer(BaseModel):
    """Versions, the newest first."""

    name: str
    history: list[RevisionAnswer]


class RollbackForm(BaseModel):
    """Which version is to be stored once more."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Annotated[int, Field(ge=1, lt=1 << 62)]


_PROXY_BODY = body_of(ProxyConfig.model_json_schema(ref_template="#/components/schemas/{model}"))
_ABSENT = refusals(_404="No such proxy")
_CONFLICT = refusals(_412="Another version is stored; nothing changed")
DryRun = Annotated[bool, Query(description="Check everything and change nothing.")]


def proxies_router(state: AdminState, control: ControlPlane | None) -> APIRouter:
    """The routes; without a store those that write answer 409."""
    router = APIRouter(prefix="/api/gateway/proxies", tags=["proxies"])

    def stored() -> ControlPlane:
        if control is None:
            raise NoStoreError("the gateway was started without a store")
        return control

    def entries() -> tuple[Entry, ...]:
        if control is not None:
            return control.combined.entries
        return tuple(Entry(proxy.name, "file", 0, proxy) for proxy in state.config.proxies)

    def found(name: str) -> Entry:
        matching = [entry for entry in entries() if entry.name == name]
        if not matching:
            raise HTTPException(404, f"there is no proxy {name}")
        return min(matching, key=lambda entry: entry.source)

    async def store_one(
        request: Request, document: Any, version: int | None, dry_run: bool
    ) -> Response:
        plane = stored()
        if isinstance(document, dict):
            old = next(
                (row for row in plane.content.proxies if row.name == document.get("name")), None
            )
            document = keep_hidden(document, old.document if old else {})
        proxy = plane.check(document)
        put = plane.call if dry_run else plane.write
        row = await put(plane.put, proxy, actor(request), version=version, dry_run=dry_run)
        if row is None:
            return JSONResponse(_shown(Entry(proxy.name, "store", 0, proxy), in_force=False))
        answer = next(
            (
                entry
                for entry in plane.combined.entries
                if (entry.name, entry.source) == (proxy.name, "store")
            ),
            Entry(proxy.name, "store", row.version, proxy),
        )
        status = 201 if row.created else 200
        return JSONResponse(_shown(answer), status, headers=etag(row.version))

    @router.get("", summary="Every proxy, header values hidden", response_model=ProxiesAnswer)
    async def read_all() -> Response:
        return JSONResponse({"proxies": [_shown(entry) for entry in entries()]})

    @router.post(
        "",
        summary="Create a proxy",
        status_code=201,
        response_model=ProxyAnswer,
        responses={
            **WRITING,
            **_CONFLICT,
            200: {"model": ProxyAnswer, "description": "A dry run: it would be created"},
        },
        openapi_extra=_PROXY_BODY,
    )
    async def create(request: Request, dry_run: DryRun = False) -> Response:
        document = await read_json(request)
        try:
            return await store_one(request, document, 0, dry_run)
        except VersionConflict:
            name = document.get("name") if isinstance(document, dict) else None
            raise AlreadyExists(f"there is a stored proxy {name!r} already") from None

    @router.get(
        "/{name}",
        summary="One proxy, header values hidden",
        response_model=ProxyAnswer,
        responses=_ABSENT,
    )
    async def read(name: str) -> Response:
        entry = found(name)
        return JSONResponse(_shown(entry), headers=etag(entry.version) if entry.version else None)

    @router.put(
        "/{name}",
        summary="Create or replace a proxy",
        description=(
            "`If-Match` replaces that version only, `If-None-Match: *` creates only. A header value"
            " of `[redacted]` keeps what is stored."
        ),
        response_model=ProxyAnswer,
        responses={
            **WRITING,
            **_CONFLICT,
            201: {"model": ProxyAnswer, "description": "Created"},
        },
        openapi_extra=_PROXY_BODY,
    )
    async def replace(name: str, request: Request, dry_run: DryRun = False) -> Response:
        document = await read_json(request)
        if isinstance(document, dict) and document.setdefault("name", name) != name:
            raise ConfigError([Fault("name", f"must be {name!r}, as in the path")])
        return await store_one(request, document, expected_version(request), dry_run)

    @router.delete(
        "/{name}",
        summary="Delete a proxy; its history stays",
        status_code=204,
        responses={**WRITING, **_CONFLICT, **_ABSENT},
    )
    async def delete(name: str, request: Request) -> Response:
        plane = stored()
        version = expected_version(request)
        await plane.write(plane.store.proxies.delete, name, actor(request), version=version)
        return Response(status_code=204)

    @router.get(
        "/{name}/history",
        summary="The versions of a proxy, the newest first",
        response_model=HistoryAnswer,
        responses={**_ABSENT, **refusals(_409="The gateway has no store", _503="It is away")},
    )
    async def history(name: str) -> Response:
        plane = stored()
        rows = await plane.call(plane.store.proxies.history, name)
        if not rows:
            raise HTTPException(404, f"there is no stored proxy {name}")
        return JSONResponse({"name": name, "history": [_revision(row) for row in rows]})

    @router.post(
        "/{name}/rollback",
        summary="Store an earlier version once more, as a new one",
        response_model=ProxyAnswer,
        responses={**WRITING, **_CONFLICT, **_ABSENT},
    )
    async def roll_back(
        name: str, request: Request, form: Annotated[RollbackForm, Body()]
    ) -> Response:
        plane = stored()
        version = expected_version(request)
        await plane.write(plane.roll_back, name, form.version, actor(request), version=version)
        entry = found(name)
        return JSONResponse(_shown(entry), headers=etag(entry.version))

    return router


def _shown(entry: Entry, *, in_force: bool | None = None) -> dict[str, Any]:
    return {
        "name": entry.name,
        "source": entry.source,
        "version": entry.version,
        "in_force": not entry.faults if in_force is None else in_force,
        "faults": [asdict(fault) for fault in entry.faults],
        "proxy": None if entry.proxy is None else shown_proxy(entry.proxy),
    }


def _revision(row: StoredRevision) -> dict[str, Any]:
    return {
        "version": row.version,
        "at_ms": row.at_ms,
        "actor": row.actor,
        "proxy": None if row.document is None else shown_document(row.document),
    }
