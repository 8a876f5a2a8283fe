"""Traces: what goes upstream, what the log says, and the spans that a collector receives."""

from __future__ import annotations

import asyncio
import http.client
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.conftest import Connect, Serve
from tests.support.gateway import GatewayProcess
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import eventually

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")


class Collector:
    """Takes OTLP over HTTP on a port of its own, and keeps what it got."""

    def __init__(self) -> None:
        self.resources: list[dict[str, str]] = []
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.resources.append(attributes(resource.resource))
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def attributes(holder: Any) -> dict[str, str]:
    return {
        item.key: item.value.string_value or str(item.value.int_value) for item in holder.attributes
    }


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def traced(upstream: ScriptedUpstream, **tracing: Any) -> dict[str, Any]:
    proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url}
    return {"proxies": [proxy], "tracing": {"enabled": True, **tracing}}


def sent(upstream: ScriptedUpstream, name: str) -> list[str]:
    """The values of a field in the upstream's last request."""
    return [value.decode() for value in upstream.requests[-1].values(name)]


async def test_off_the_fields_pass(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve()
    caller = await connect(gateway)
    await caller.get("/", ("traceparent", "anything"), ("tracestate", "a=1"))
    assert sent(upstream, "traceparent") == ["anything"]
    assert sent(upstream, "tracestate") == ["a=1"]


async def test_a_callers_trace_is_continued(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve(config=traced(upstream, sample_percent=0))
    caller = await connect(gateway)
    await caller.get("/", ("TraceParent", PARENT), ("tracestate", "a=1"))
    [value] = sent(upstream, "traceparent")
    match = FORM.fullmatch(value)
    assert match is not None
    assert match[1] == TRACE_ID
    assert match[2] != PARENT_ID
    assert match[3] == "01", "the caller has decided to sample"
    assert sent(upstream, "tracestate") == ["a=1"]
    [record] = await gateway.access_log(1)
    assert record["trace_id"] == TRACE_ID


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("traceparent", "00-zz")],
        [("traceparent", PARENT), ("traceparent", PARENT)],
        [("traceparent", PARENT.replace(TRACE_ID, "0" * 32))],
    ],
    ids=["none", "malformed", "twice", "zero"],
)
async def test_without_a_valid_one_a_trace_begins(
    upstream: ScriptedUpstream,
    serve: Serve,
    connect: Connect,
    fields: list[tuple[str, str]],
) -> None:
    gateway = await serve(config=traced(upstream))
    caller = await connect(gateway)
    await caller.get("/", *fields, ("tracestate", "a=1"))
    [value] = sent(upstream, "traceparent")
    match = FORM.fullmatch(value)
    assert match is not None
    assert match[1] != TRACE_ID
    assert match[3] == "01"
    assert sent(upstream, "tracestate") == [], "it belongs to a trace that ended here"


async def test_sampling_is_a_share_of_the_traces_that_begin_here(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve(config=traced(upstream, sample_percent=25))
    caller = await connect(gateway)
    for _ in range(400):
        await caller.get("/")
    fields = [request.values("traceparent")[0] for request in upstream.requests]
    sampled = sum(value.endswith(b"01") for value in fields)
    # Five standard deviations of 400 draws.
    assert 57 <= sampled <= 143


async def test_spans_reach_a_collector(
    upstream: ScriptedUpstream, collector: Collector, tmp_path: Path
) -> None:
    config = {
        **traced(upstream, otlp_endpoint=collector.endpoint, service_name="edge"),
        "workers": 2,
    }
    config["proxies"].append({"name": "away", "path": "/away", "upstream": "http://127.0.0.1:1"})
    with GatewayProcess(tmp_path, config) as gateway:
        statuses = await asyncio.gather(
            *(asyncio.to_thread(ask, gateway.port, f"/a/{number}") for number in range(20)),
            asyncio.to_thread(ask, gateway.port, "/away/x"),
        )
        assert statuses == [200] * 20 + [502]
        await eventually(lambda: spans_count(gateway, "exported") == 21, "21 exported spans")
    assert {resource["service.name"] for resource in collector.resources} == {"edge"}
    told = {attributes(span)["url.path"]: span for span in collector.spans}
    assert len(told) == 21
    assert told["/a/7"].name == "GET /"
    assert told["/a/7"].kind == 2, "SERVER"
    assert told["/a/7"].end_time_unix_nano > told["/a/7"].start_time_unix_nano
    away = attributes(told["/away/x"])
    assert away["error.type"] == "dial_failed"
    assert away["http.response.status_code"] == "502"
    assert away["gatewayx.proxy"] == "away"
    seen = {request.values("traceparent")[0].decode() for request in upstream.requests}
    spans = {
        f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
        for path, span in told.items()
        if path.startswith("/a/")
    }
    assert spans == seen, "the upstream's parent is the gateway's span"


async def test_a_collector_that_is_away_costs_spans_and_no_requests(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    config = traced(upstream, otlp_endpoint="http://127.0.0.1:1/v1/traces")
    environ = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with GatewayProcess(tmp_path, config, environ=environ) as gateway:
        for number in range(50):
            assert await asyncio.to_thread(ask, gateway.port, f"/{number}") == 200
        await eventually(lambda: spans_count(gateway, "failed"), "spans that are given up")


def spans_count(gateway: GatewayProcess, result: str) -> float:
    return gateway.metrics().total("gateway_spans_total", result=result)


def ask(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()
