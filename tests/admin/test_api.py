"""The admin API over real connections: who may ask, and what the answers say."""

import asyncio
import json

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from gatewayx import __version__
from gatewayx.admin import ReloadError
from gatewayx.config import ConfigError, Fault
from tests.admin.conftest import TOKEN, Answer, KnownState, ask_at

PROTECTED = [
    "/api/gateway/metrics",
    "/api/gateway/proxies",
    "/api/gateway/stats",
    "/stats/prometheus",
    "/openapi.json",
]


async def ask(port: int, path: str, *, method: str = "GET", **fields: str) -> Answer:
    return await asyncio.to_thread(ask_at, port, path, method=method, **fields)


async def ask_as_superuser(port: int, path: str, **fields: str) -> Answer:
    return await ask(port, path, Authorization=f"Bearer {TOKEN}", **fields)


@pytest.mark.parametrize(
    "offered",
    [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"],
)
async def test_a_stranger_learns_nothing(port: int, offered: str | None) -> None:
    for path in [*PROTECTED, "/nothing/here", "/docs", "/healthz/", "//healthz"]:
        fields = {} if offered is None else {"Authorization": offered}
        answer = await ask(port, path, **fields)
        assert answer.status == 401
        assert answer.fields["WWW-Authenticate"] == 'Bearer realm="gatewayx"'
        assert json.loads(answer.body) == {
            "error": "Authentication Required",
            "details": "the superuser token is missing or wrong",
            "reason": "unauthenticated",
        }


async def test_two_authorization_fields_are_refused(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = f"Authorization: Bearer {TOKEN}\r\n"
    writer.write(f"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n{line}{line}\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_superuser_is_let_through(port: int, scheme: str) -> None:
    for path in PROTECTED:
        assert (await ask(port, path, Authorization=f"{scheme} {TOKEN}")).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_probes_need_no_token(port: int, state: KnownState, method: str) -> None:
    assert (await ask(port, "/healthz", method=method)).status == 200
    assert (await ask(port, "/ready", method=method)).status == 200
    state.accepts = False
    assert (await ask(port, "/healthz", method=method)).status == 200
    assert (await ask(port, "/ready", method=method)).status == 503


@pytest.mark.parametrize("path", ["/api/gateway/metrics", "/stats/prometheus"])
async def test_metrics_as_prometheus_text(port: int, path: str) -> None:
    answer = await ask_as_superuser(port, path)
    assert answer.fields["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.body.splitlines()
    for line in [
        "# TYPE gateway_requests_total counter",
        f'gateway_build_info{{version="{__version__}"}} 1.0',
        'gateway_requests_total{proxy="sidecar",status="200"} 7',
        'gateway_active_connections{proxy="sidecar"} 3',
        "# TYPE gateway_upstream_latency_seconds histogram",
        'gateway_upstream_latency_seconds_bucket{le="0.05",proxy="sidecar"} 1',
        'gateway_upstream_latency_seconds_bucket{le="1",proxy="sidecar"} 4',
        'gateway_upstream_latency_seconds_bucket{le="+Inf",proxy="sidecar"} 6',
        'gateway_upstream_latency_seconds_count{proxy="sidecar"} 6',
        'gateway_upstream_latency_seconds_sum{proxy="sidecar"} 2.75',
        "wasmcustom_hfi_faults_aborts_total 0",
    ]:
        assert line in lines
    families = {family.name for family in read_text(answer.body)}
    assert {"gateway_requests", "process_resident_memory_bytes", "python_info"} <= families


async def test_metrics_as_openmetrics(port: int) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    answer = await ask_as_superuser(port, "/api/gateway/metrics", Accept=accept)
    assert answer.fields["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.body.endswith("# EOF\n")
    families = {family.name: family for family in read_openmetrics(answer.body)}
    samples = families["gateway_upstream_latency_seconds"].samples
    assert [sample.labels["le"] for sample in samples if "le" in sample.labels] == [
        "0.05",
        "1.0",
        "+Inf",
    ]


async def test_metrics_are_read_at_each_scrape(port: int, state: KnownState) -> None:
    state.rows[1] = state.rows[1]._replace(samples=[(("sidecar",), 99)])
    answer = await ask_as_superuser(port, "/api/gateway/metrics")
    assert 'gateway_active_connections{proxy="sidecar"} 99' in answer.body.splitlines()


async def test_label_values_cannot_break_out_of_a_line(port: int, state: KnownState) -> None:
    odd = 'a"b\\c\nd'
    state.rows[:] = [("gateway_odd", "gauge", "Odd.", ("proxy",), [((odd,), 1)])]
    answer = await ask_as_superuser(port, "/api/gateway/metrics")
    odd_family = next(f for f in read_text(answer.body) if f.name == "gateway_odd")
    assert odd_family.samples[0].labels == {"proxy": odd}


async def test_proxies_show_no_secret(port: int) -> None:
    answer = await ask_as_superuser(port, "/api/gateway/proxies")
    (proxy,) = json.loads(answer.body)["proxies"]
    assert (proxy["name"], proxy["source"], proxy["in_force"]) == ("sidecar", "file", True)
    proxy = proxy["proxy"]
    assert proxy["upstream"] == "http://127.0.0.1:8001"
    assert proxy["timeout"]["dial"] == 2
    assert proxy["headers"] == {"Authorization": "[redacted]", "X-Key": "{env.KEY}"}
    assert "hunter2" not in answer.body


async def test_stats_are_the_metrics_and_the_workers(port: int) -> None:
    stats = json.loads((await ask_as_superuser(port, "/api/gateway/stats")).body)
    assert stats["workers"] == [{"slot": 0, "pid": 4711, "state": "serving", "restarts": 2}]
    assert stats["metrics"]["gateway_requests_total"]["samples"] == [
        {"labels": {"proxy": "sidecar", "status": "200"}, "value": 7},
        {"labels": {"proxy": "sidecar", "status": "502"}, "value": 1},
    ]
    assert stats["metrics"]["gateway_upstream_latency_seconds"]["samples"] == [
        {
            "labels": {"proxy": "sidecar"},
            "buckets": {"0.05": 1, "1": 4, "+Inf": 6},
            "sum": 2.75,
            "count": 6,
        }
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/nothing/here", 404, "not_found"),
        ("POST", "/api/gateway/stats", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
    ],
)
async def test_errors_have_the_shape_of_the_gateway(
    port: int, method: str, path: str, status: int, reason: str
) -> None:
    answer = await ask(port, path, method=method, Authorization=f"Bearer {TOKEN}")
    assert answer.status == status
    assert json.loads(answer.body)["reason"] == answer.fields["X-Gateway-Reason"] == reason


async def test_a_failing_source_is_an_error_and_not_the_end(port: int, state: KnownState) -> None:
    good = list(state.rows)
    state.rows[:] = [("too", "short")]
    answer = await ask_as_superuser(port, "/api/gateway/metrics")
    assert answer.status == 500
    assert json.loads(answer.body)["reason"] == "internal_error"
    state.rows[:] = good
    assert (await ask_as_superuser(port, "/api/gateway/metrics")).status == 200


async def test_a_reload_tells_what_has_changed(port: int) -> None:
    answer = await ask(port, "/api/gateway/reload", method="POST", Authorization=f"Bearer {TOKEN}")
    assert (answer.status, json.loads(answer.body)) == (200, {"changes": {"added": ["new"]}})
    assert (await ask(port, "/api/gateway/reload", method="POST")).status == 401


async def test_a_reload_that_is_refused_tells_why(port: int, state: KnownState) -> None:
    state.reload_error = ConfigError([Fault("proxies", "is wrong", "a.yaml", 3, 5)])
    answer = await ask(port, "/api/gateway/reload", method="POST", Authorization=f"Bearer {TOKEN}")
    assert answer.status == 422
    assert json.loads(answer.body)["faults"] == [
        {"path": "proxies", "message": "is wrong", "file": "a.yaml", "line": 3, "column": 5}
    ]
    state.reload_error = ReloadError("cannot listen")
    answer = await ask(port, "/api/gateway/reload", method="POST", Authorization=f"Bearer {TOKEN}")
    assert (answer.status, json.loads(answer.body)["details"]) == (409, "cannot listen")
