"""Metrics and access log tell the same, and the truth."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.http1 import Request
from tests.support.serving import settled
from tests.support.upstream import ScriptedUpstream, UpstreamConnection

FIELDS = {
    "time": str,
    "request_id": str,
    "proxy_name": str,
    "method": str,
    "path": str,
    "status_code": int,
    "upstream": str,
    "upstream_latency_ms": float,
    "proxy_latency_ms": float,
    "bytes_in": int,
    "bytes_out": int,
    "circuit_state": str,
    "concurrent_count": int,
    "error": str,
    "fault": str,
}


async def test_a_line_tells_everything_about_a_request(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve()
    caller = await connect(gateway)
    before = datetime.now(UTC)
    response = await caller.ask("POST", "/a/b?secret=1", body=b"x" * 1000)
    [record] = await gateway.access_log(1)
    assert {name: type(value) for name, value in record.items()} == FIELDS
    # The log's clock has milliseconds.
    assert abs((datetime.fromisoformat(record["time"]) - before).total_seconds()) < 60
    assert record["request_id"].encode() == response.value("X-Request-Id")
    assert record["proxy_name"] == "sidecar"
    assert (record["method"], record["status_code"]) == ("POST", 200)
    assert record["path"].startswith("/a/b")
    assert record["upstream"].encode() == upstream.authority
    assert record["bytes_in"] > 1000
    assert record["bytes_out"] >= len(response.body)
    assert (record["circuit_state"], record["error"], record["fault"]) == ("closed", "", "")
    assert record["concurrent_count"] == 1
    assert record["proxy_latency_ms"] >= 0


async def test_upstream_latency_is_told_from_the_gateways_own(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def slow(_: Request, connection: UpstreamConnection) -> None:
        await asyncio.sleep(0.3)
        await connection.respond(200, b"x")

    upstream.on("/slow", slow)
    gateway = await serve()
    caller = await connect(gateway)
    await caller.get("/slow")
    [record] = await gateway.access_log(1)
    assert record["upstream_latency_ms"] >= 300
    assert record["proxy_latency_ms"] < record["upstream_latency_ms"]
    samples = await gateway.metrics()
    name = "gateway_upstream_latency_seconds"
    assert samples.total(f"{name}_bucket", le="0.25") == 0
    assert samples.total(f"{name}_bucket", le="+Inf") == 1
    assert samples.total(f"{name}_sum") >= 0.3
    assert samples.total("gateway_proxy_latency_seconds_count") == 1


async def test_the_buckets_are_the_documented_ones(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve()
    await (await connect(gateway)).get("/")
    samples = await gateway.metrics()
    for name in ["gateway_upstream_latency_seconds", "gateway_proxy_latency_seconds"]:
        found = {
            labels["le"] for sample, labels, _ in samples.samples if sample == f"{name}_bucket"
        }
        steps = {float(step) for step in found - {"+Inf"}}
        assert steps == {0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}


async def test_metrics_agree_with_the_log(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def answer(request: Request, connection: UpstreamConnection) -> None:
        status = int(request.target.rpartition(b"=")[2])
        await connection.respond(status, b"x" * (status % 7))

    async def leave(_: Request, connection: UpstreamConnection) -> None:
        connection.close()

    upstream.on("/answer", answer)
    upstream.on("/leave", leave)
    proxies = [
        {"name": "one", "path": "/one", "upstream": upstream.url},
        {"name": "two", "path": "/two", "upstream": upstream.url},
    ]
    gateway = await serve(config={"proxies": proxies})
    caller = await connect(gateway)
    asked = 0
    for proxy in ["one", "two"]:
        for status in [200, 200, 201, 404, 500, 503]:
            await caller.get(f"/{proxy}/answer?status={status}")
            asked += 1
        await caller.ask("POST", f"/{proxy}/leave", body=b"x")
        asked += 1
    await caller.get("/nowhere")
    asked += 1
    broken = await connect(gateway)
    await broken.send(b"BROKEN\r\n\r\n")
    await broken.response()
    asked += 1
    await caller.close()
    await broken.close()

    samples = await settled(gateway)
    records = await gateway.access_log(asked)
    assert len(records) == asked
    by_status = Counter((r["proxy_name"], str(r["status_code"])) for r in records)
    counted = {
        (labels["proxy"], labels["status"]): value
        for name, labels, value in samples.samples
        if name == "gateway_requests_total" and value
    }
    assert sum(counted.values()) == asked
    for (proxy, status), count in by_status.items():
        if proxy:
            assert counted[proxy, status] == count
    assert samples.total("gateway_errors_total", proxy="one", type="5xx") == 2
    assert samples.total("gateway_errors_total", proxy="two", type="upstream_reset") == 1
    assert samples.total("gateway_errors_total", type="no_route") == 1
    assert samples.total("gateway_errors_total", type="bad_request") == 1
    assert len({record["request_id"] for record in records}) == asked


async def test_gauges_rise_and_fall(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    everyone = asyncio.Barrier(6)

    async def hold(_: Request, connection: UpstreamConnection) -> None:
        await everyone.wait()
        await everyone.wait()
        await connection.respond(200, b"held")

    upstream.on("/hold", hold)
    gateway = await serve(max_concurrent=50)
    callers = [await connect(gateway) for _ in range(5)]
    for caller in callers:
        await caller.request("GET", "/hold")
    await everyone.wait()
    samples = await gateway.metrics()
    assert samples.total("gateway_active_connections", proxy="sidecar") == 5
    assert samples.total("gateway_upstream_connections", state="active") == 5
    assert samples.total("gateway_limiter_in_use") == 5
    assert samples.total("gateway_downstream_connections") == 5
    await everyone.wait()
    for caller in callers:
        assert (await caller.response()).body == b"held"
        await caller.close()
    samples = await settled(gateway)
    assert samples.total("gateway_upstream_connections", state="idle") == 5
    counts = sorted(record["concurrent_count"] for record in await gateway.access_log(5))
    assert counts[-1] <= 5


@pytest.mark.parametrize("path", ['/quote"%22', "/tab%09", "/" + "a" * 2000, "/~!$&'()*+,;=:@"])
async def test_a_line_is_json_whatever_the_path(
    path: str, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve()
    caller = await connect(gateway)
    response = await caller.get(path)
    [record] = await gateway.access_log(1)
    assert record["status_code"] == response.status
    if response.status == 200:
        assert record["path"] == path
