"""`/docs`: the API's own description as one page that refers to nothing outside the gateway."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import HTMLResponse

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>GatewayX admin API</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
summary{cursor:pointer;padding:.3em}code{font-size:90%}details{border-bottom:1px solid #ddd}
b{display:inline-block;width:5em}pre{background:#f5f5f5;padding:1em;overflow:auto}</style>
<h1>GatewayX admin API</h1><p>Send <code>Authorization: Bearer TOKEN</code>. The same as
<a href="/openapi.json">OpenAPI</a>.</p>"""


def docs_router(app: FastAPI) -> APIRouter:
    """The page, made from the application's OpenAPI document."""
    router = APIRouter()

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(_page(app.openapi()), headers={"Content-Security-Policy": _POLICY})

    return router


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def _page(document: dict[str, Any]) -> str:
    parts = [_HEAD]
    for path, methods in document["paths"].items():
        parts += [_operation(method, path, operation) for method, operation in methods.items()]
    schemas = document.get("components", {}).get("schemas", {})
    parts.append("<h2>Schemas</h2>")
    parts += [
        _folded(escape(name), json.dumps(schema, indent=2)) for name, schema in schemas.items()
    ]
    return "".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    title = (
        f"<b>{escape(method.upper())}</b><code>{escape(path)}</code>"
        f" {escape(operation.get('summary', ''))}"
    )
    shown = {
        key: operation[key]
        for key in ("description", "parameters", "requestBody", "responses")
        if key in operation
    }
    return _folded(title, json.dumps(shown, indent=2))


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>"
