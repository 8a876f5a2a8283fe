"""A worker's line as OpenTelemetry's span, in the names of its HTTP conventions."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gatewayx import __version__

_SCOPE = InstrumentationScope("gatewayx", __version__)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def read_span(line: bytes, resource: Resource) -> ReadableSpan:
    """The span that a line tells of (`native/engine/src/trace.rs` writes it)."""
    record: dict[str, Any] = json.loads(line)
    status: int = record["status"]
    trace_id = int(record["trace_id"], 16)
    parent_id = int(record["parent_id"], 16)
    failed = status >= 500
    return ReadableSpan(
        name=f"{record['method']} {record['route']}".strip() or "HTTP",
        context=SpanContext(trace_id, int(record["span_id"], 16), False, _SAMPLED),
        parent=SpanContext(trace_id, parent_id, True, _SAMPLED) if parent_id else None,
        resource=resource,
        attributes=_attributes(record),
        kind=SpanKind.SERVER,
        instrumentation_scope=_SCOPE,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=record["start_unix_ns"],
        end_time=record["end_unix_ns"],
    )


def _attributes(record: dict[str, Any]) -> dict[str, str | int]:
    status: int = record["status"]
    found: dict[str, str | int] = {
        "http.request.method": record["method"],
        "http.route": record["route"],
        "url.path": record["path"],
        "http.response.status_code": status,
        "http.request.resend_count": max(0, record["attempts"] - 1),
        "gatewayx.proxy": record["proxy"],
        "gatewayx.request_id": record["request_id"],
        "gatewayx.upstream": record["upstream"],
    }
    # A reason of the gateway's own tells more than the code that it maps to.
    found["error.type"] = record["error"] or (str(status) if status >= 500 else "")
    return {key: value for key, value in found.items() if value not in ("", 0)}
