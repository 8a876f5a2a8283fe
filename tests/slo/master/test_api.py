"""The HTTP face: tokens, bodies, ranges, errors, and every route once."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import yaml

from gatewayx.slo.master.app import create_app
from gatewayx.slo.master.master import Master
from tests.slo.master.conftest import MasterFactory
from tests.slo.master.snapshots import FakeClock, dump, edge, ingress, route, service, snapshot

AGENT = {"Authorization": "Bearer agent-secret"}
READER = {"Authorization": "Bearer reader-secret"}


@pytest.fixture
def guarded(open_master: MasterFactory, sqlite_url: str) -> Master:
    """A master that asks agents and readers for their tokens."""
    return open_master(
        sqlite_url,
        agent_token="agent-secret",
        reader_token="reader-secret",
        limits={"body_max_bytes": 100_000},
    )


@pytest.fixture
async def client(guarded: Master) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the standalone application."""
    transport = httpx.ASGITransport(create_app(guarded, background=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://slo") as client:
        yield client


def body(clock: FakeClock, seq: int = 1) -> bytes:
    return snapshot(
        seq,
        clock.now_ms,
        services=[service("shop/web", 990, 10, latency=(500, 500, 0, 0, 0), latency_sum=9000)],
        edges=[edge("shop/web", "shop/db", 10)],
        ingress=[ingress("shop-web-80", [("200", "GET", 9)])],
        routes=[route("shop.example.com", "shop-web-80")],
    ).to_json()


async def post(client: httpx.AsyncClient, content: bytes, **headers: str) -> httpx.Response:
    return await client.post("/api/v2/slo/snapshots", content=content, headers=AGENT | headers)


async def test_a_snapshot_is_taken_once(client: httpx.AsyncClient, clock: FakeClock) -> None:
    first = await post(client, body(clock))
    assert (first.status_code, first.json()) == (202, {"status": "accepted", "next_seq": 2})
    again = await post(client, body(clock))
    assert (again.status_code, again.json()) == (200, {"status": "duplicate", "next_seq": 2})
    packed = await post(client, gzip.compress(body(clock, 2)), **{"content-encoding": "gzip"})
    assert packed.status_code == 202
    metrics = (await client.get("/metrics")).text
    assert 'slo_master_snapshots_total{result="accepted"} 2.0' in metrics
    assert 'slo_master_snapshots_total{result="duplicate"} 1.0' in metrics


@pytest.mark.parametrize(
    ("headers", "content", "status", "reason"),
    [
        ({"Authorization": ""}, b"{}", 401, "unauthorized"),
        ({"Authorization": "Bearer wrong"}, b"{}", 401, "unauthorized"),
        ({"Authorization": "Basic agent-secret"}, b"{}", 401, "unauthorized"),
        (READER, b"{}", 401, "unauthorized"),
        ({}, b"{}", 422, "bad_snapshot"),
        ({}, b"x" * 100_001, 413, "too_large"),
        ({"content-encoding": "gzip"}, gzip.compress(b"0" * 100_001), 413, "too_large"),
        ({"content-encoding": "gzip"}, gzip.compress(b"{}")[:-4], 400, "bad_encoding"),
        ({"content-encoding": "gzip"}, gzip.compress(b"{}") + b"x", 400, "bad_encoding"),
        ({"content-encoding": "gzip"}, b"{}", 400, "bad_encoding"),
        ({"content-encoding": "br"}, b"{}", 415, "bad_encoding"),
    ],
)
async def test_a_bad_post_gets_a_clear_answer(
    client: httpx.AsyncClient,
    guarded: Master,
    headers: dict[str, str],
    content: bytes,
    status: int,
    reason: str,
) -> None:
    before = dump(guarded)
    answer = await post(client, content, **headers)
    assert answer.status_code == status
    assert answer.json()["reason"] == reason
    assert answer.json()["details"]
    assert dump(guarded) == before


READS = {
    "/mesh/topology": "nodes",
    "/mesh/service/detail?namespace=shop&name=web": "history",
    "/domains/v2": "domains",
    "/domains/detail?domain=shop.example.com": "services",
    "/domains/history?domain=shop.example.com": "services",
    "/targets": "default",
    "/status/history": "changes",
    "/budgets": "budgets",
    "/alerts": "alerts",
}


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("time_range", ["1h", "30d"])
async def test_every_question_is_answered_to_readers_only(
    client: httpx.AsyncClient, guarded: Master, clock: FakeClock, path: str, time_range: str
) -> None:
    await post(client, body(clock))
    guarded.roll_up()
    guarded.evaluate()
    url = f"/api/v2/slo{path}"
    assert (await client.get(url)).status_code == 401
    assert (await client.get(url, headers=AGENT)).status_code == 401
    params = dict(httpx.URL(url).params) | {"time_range": time_range}
    answer = await client.get(url, headers=READER, params=params)
    assert answer.status_code == 200
    assert answer.json()["cluster_id"] == "default"
    assert answer.json()[READS[path]], "the question has an answer"


async def test_both_rule_formats(client: httpx.AsyncClient, clock: FakeClock) -> None:
    await post(client, body(clock))
    url = "/api/v2/slo/rules"
    prometheus = await client.get(url, headers=READER, params={"metric_prefix": "otel_"})
    assert "otel_response_total" in prometheus.text
    assert len(yaml.safe_load(prometheus.text)["groups"]) == 2
    openslo = await client.get(url, headers=READER, params={"format": "openslo"})
    kinds = [document["kind"] for document in yaml.safe_load_all(openslo.text)]
    assert kinds.count("SLO") == 2
    refused = await client.get(url, headers=READER, params={"format": "xml"})
    assert refused.status_code == 422


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("time_range=2h", 422),
        ("from=2026-03-10T11:00:00Z&time_range=1h", 422),
        ("from=2026-03-10T11:00:00", 422),
        ("from=yesterday", 422),
        ("to=2026-03-10T11:00:00Z", 422),
        ("from=2026-03-10T11:00:00Z&to=2026-03-10T10:00:00Z", 422),
        ("from=2027-01-01T00:00:00Z", 422),
        ("from=2020-01-01T00:00:00Z", 422),
        ("cluster_id=elsewhere", 404),
        ("from=2026-03-10T11:00:00Z&to=2026-03-10T12:00:00Z", 200),
    ],
)
async def test_ranges_and_clusters_are_checked(
    client: httpx.AsyncClient, query: str, status: int
) -> None:
    answer = await client.get(f"/api/v2/slo/mesh/topology?{query}", headers=READER)
    assert answer.status_code == status
    if status != 200:
        assert set(answer.json()) == {"error", "details", "reason"}


async def test_targets_are_set_all_or_none(client: httpx.AsyncClient, guarded: Master) -> None:
    url = "/api/v2/slo/targets"
    good = {"target_type": "service", "target_key": "shop/web", "availability_percent": 99.5}
    answer = await client.put(url, headers=READER, json=good)
    assert answer.json()["targets"] == [
        good | {"p95_ms": 500.0, "window_days": 30, "events_min": 100}
    ]
    before = dump(guarded)
    for bad in (
        good | {"availability_percent": 100},
        good | {"p95_ms": -1},
        good | {"target_key": "web"},
        good | {"target_type": "edge"},
        good | {"surprise": 1},
    ):
        refused = await client.put(url, headers=READER, json=[good | {"p95_ms": 1}, bad])
        assert (refused.status_code, refused.json()["reason"]) == (422, "bad_target")
    refused = await client.put(url, headers=READER, content=b"{")
    assert refused.status_code == 422
    assert (await client.put(url, json=good)).status_code == 401
    assert dump(guarded) == before


async def test_a_budget_of_one_target(client: httpx.AsyncClient, clock: FakeClock) -> None:
    await post(client, body(clock))
    url = "/api/v2/slo/budgets"
    one = await client.get(
        url, headers=READER, params={"target_type": "service", "target": "shop/web"}
    )
    assert [budget["target"] for budget in one.json()["budgets"]] == ["shop/web"]
    half = await client.get(url, headers=READER, params={"target": "shop/web"})
    assert half.status_code == 422


async def test_the_interface_is_documented(client: httpx.AsyncClient) -> None:
    paths = json.loads((await client.get("/openapi.json")).text)["paths"]
    assert {f"/api/v2/slo{path.partition('?')[0]}" for path in READS} <= set(paths)
    assert (await client.get("/healthz")).json() == {"status": "ok"}
