"""Errors of the admin API in the gateway's own shape: `error`, `details`, `reason`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

_TITLES = {401: "Authentication Required", 404: "Not Found"}


def error_answer(status: int, details: str, reason: str, **more: Any) -> JSONResponse:
    """An error as JSON, with more members where it has more to tell; never cached."""
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    return JSONResponse(
        {"error": title, "details": details, "reason": reason, **more},
        status_code=status,
        headers={"Cache-Control": "no-store", "X-Gateway-Reason": reason},
    )
