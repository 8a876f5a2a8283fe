"""Distributed traces: whether they are continued, how many are sampled, where spans go."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from gatewayx.config.section import Section
from gatewayx.config.values import Kind, Label

SAMPLES_MAX = 1_000_000
"""The engine samples so many of a million."""


def collector_url(url: str) -> str:
    """The URL that a collector takes spans at; credentials belong into the environment."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://HOST:PORT/v1/traces or the same with https")
    if parts.username is not None:
        raise ValueError("must not hold credentials: set OTEL_EXPORTER_OTLP_HEADERS")
    return url


CollectorUrl = Annotated[str, AfterValidator(collector_url), Kind("URL")]
Percent = Annotated[float, Field(ge=0, le=100), Kind("percent")]


class TracingConfig(Section):
    """W3C Trace Context. Off, `traceparent` and `tracestate` pass like any other field."""

    enabled: bool = Field(
        default=False,
        description=(
            "Whether the gateway takes part in traces: a valid `traceparent` is continued with a"
            " span of its own, another one is begun, and the log has `trace_id`."
        ),
    )
    sample_percent: Percent = Field(
        default=100,
        description="Traces begun here that are sampled. A caller's decision is kept as it is.",
    )
    otlp_endpoint: CollectorUrl | None = Field(
        default=None,
        description=(
            "Where sampled spans are sent (OTLP over HTTP), such as"
            " `http://127.0.0.1:4318/v1/traces`; install `gatewayx[otlp]`. A change needs a"
            " restart. The `OTEL_EXPORTER_OTLP_*` variables for headers, certificate and time-out"
            " apply."
        ),
    )
    service_name: Label = Field(
        default="gatewayx", description="`service.name` of the spans. A change needs a restart."
    )
