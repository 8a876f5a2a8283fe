"""Live state: what each proxy does now, read once or followed as server-sent events.

Totals only grow, so a rate is the difference of two looks. A look is kept for the next one: whoever
asks gets figures since the last look that is old enough, at most since the gateway's start.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from gatewayx.admin.requests import refusals
from gatewayx.admin.state import AdminState, Family

WINDOW_SECONDS_MIN = 0.9
"""Two looks that are closer make one window."""

STREAMS_MAX_COUNT = 64
"""Followers at a time; the next one gets 503."""

_BREAKER_STATES = ("closed", "open", "half_open")
_GAUGES = {
    "gateway_active_connections": "active",
    "gateway_limiter_in_use": "in_use",
    "gateway_limiter_limit": "limit",
    "gateway_limiter_queued": "queued",
}
_LATENCY = "gateway_proxy_latency_seconds"

Totals = dict[str, Any]


class Looks:
    """Makes figures of every proxy from two looks at the metrics."""

    def __init__(
        self,
        rows: Callable[[], Iterable[tuple[Any, ...]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._old: tuple[float, dict[str, Totals]] = (clock(), {})
        self._new: tuple[float, dict[str, Totals]] = self._old

    def figures(self) -> dict[str, dict[str, Any]]:
        """Of every proxy by name; `window_seconds` says over what the rates are."""
        now = self._clock()
        totals = _totals(self._rows())
        if now - self._new[0] >= WINDOW_SECONDS_MIN:
            self._old = self._new
        since, before = self._old
        self._new = (now, totals)
        return {
            name: _figures(found, before.get(name, {}), now - since)
            for name, found in totals.items()
        }


def _totals(rows: Iterable[tuple[Any, ...]]) -> dict[str, Totals]:
    found: dict[str, Totals] = {}

    def of(name: str) -> Totals:
        return found.setdefault(
            name,
            {"requests": 0, "errors": {}, "statuses": {}, "gauges": {}, "upstream_connections": {}},
        )

    for row in rows:
        family = Family(*row)
        if not family.label_names or family.label_names[0] != "proxy":
            continue
        for labels, *values in family.samples:
            totals, value = of(labels[0]), values[0]
            match family.series_name:
                case "gateway_requests_total":
                    totals["requests"] += value
                    totals["statuses"][labels[1]] = totals["statuses"].get(labels[1], 0) + value
                case "gateway_errors_total":
                    totals["errors"][labels[1]] = value
                case "gateway_circuit_breaker_state":
                    totals["breaker"] = _BREAKER_STATES[int(value)]
                case "gateway_upstream_connections":
                    totals["upstream_connections"][labels[1]] = value
                case "gateway_limiter_rejected_total":
                    totals["rejected"] = value
                case name if name in _GAUGES:
                    totals["gauges"][_GAUGES[name]] = value
                case name if name == _LATENCY:
                    totals["bounds"], totals["buckets"] = family.bounds, tuple(value)
    return found


def _figures(totals: Totals, before: Totals, seconds: float) -> dict[str, Any]:
    errors = sum(totals["errors"].values())
    old_errors = sum(before.get("errors", {}).values())
    buckets = totals.get("buckets", ())
    old = before.get("buckets", (0,) * len(buckets))
    passed = [count - earlier for count, earlier in zip(buckets, old, strict=True)]
    bounds = totals.get("bounds", ())
    return {
        "requests": totals["requests"],
        "errors": totals["errors"],
        "statuses": totals["statuses"],
        "window_seconds": round(seconds, 3),
        "requests_per_second": _rate(totals["requests"], before.get("requests", 0), seconds),
        "errors_per_second": _rate(errors, old_errors, seconds),
        "latency_seconds": {
            name: quantile(share, bounds, passed)
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
        },
        "breaker": totals.get("breaker"),
        "limiter": {
            **{name: totals["gauges"].get(name, 0) for name in ("in_use", "limit", "queued")},
            "rejected": totals.get("rejected", 0),
        },
        "active": totals["gauges"].get("active", 0),
        "upstream_connections": totals["upstream_connections"],
    }


def _rate(now: float, before: float, seconds: float) -> float:
    return round(max(now - before, 0) / seconds, 3) if seconds > 0 else 0.0


def quantile(share: float, bounds: Sequence[float], cumulative: Sequence[float]) -> float | None:
    """Interpolated within its bucket, as Prometheus does; None without observations.

    Beyond the last bound there is nothing to interpolate with: the last bound it is.
    """
    if not cumulative or cumulative[-1] <= 0:
        return None
    rank = share * cumulative[-1]
    lower, below = 0.0, 0.0
    for bound, count in zip(bounds, cumulative, strict=False):
        if count >= rank:
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower


def live_router(state: AdminState) -> APIRouter:
    """`/api/gateway/states`, one proxy's, and `/api/gateway/events`."""
    router = APIRouter(prefix="/api/gateway", tags=["live"])
    looks = Looks(state.metrics)
    following = 0

    @router.get("/states", summary="What every proxy does now: rates, latency, breaker, limiter")
    async def states() -> Response:
        return JSONResponse({"proxies": looks.figures()})

    @router.get(
        "/proxies/{name}/state",
        summary="What one proxy does now",
        responses=refusals(_404="No such proxy"),
    )
    async def one(name: str) -> Response:
        if all(proxy.name != name for proxy in state.config.proxies):
            raise HTTPException(404, f"there is no proxy {name}")
        return JSONResponse({"proxy": name, **looks.figures().get(name, {})})

    @router.get(
        "/events",
        summary="What every proxy does, every so often, as server-sent events named `states`",
        response_class=StreamingResponse,
        responses={
            200: {"description": "Events", "content": {"text/event-stream": {"schema": {}}}},
            **refusals(_422="A bad interval", _503="Too many followers"),
        },
    )
    async def events(
        interval: Annotated[float, Query(ge=1, le=60, description="Seconds.")] = 1,
        count: Annotated[
            int, Query(ge=0, le=1_000_000, description="End after so many; 0 never.")
        ] = 0,
    ) -> Response:
        if following >= STREAMS_MAX_COUNT:
            raise HTTPException(503, f"{STREAMS_MAX_COUNT} follow already")
        fields = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            follow(interval, count), media_type="text/event-stream", headers=fields
        )

    async def follow(interval: float, count: int) -> AsyncIterator[bytes]:
        nonlocal following
        following += 1
        mine = Looks(state.metrics)
        sent = 0
        try:
            while True:
                body = {
                    "ready": state.ready(),
                    "proxies": mine.figures(),
                }
                yield f"event: states\ndata: {json.dumps(body)}\n\n".encode()
                sent += 1
                if sent == count:
                    return
                await asyncio.sleep(interval)
        finally:
            following -= 1

    return router
