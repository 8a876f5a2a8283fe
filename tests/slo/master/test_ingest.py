"""A snapshot is stored once and whole, or refused with a reason and without a trace."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import func, select

from gatewayx.slo.master import ingest, tables
from gatewayx.slo.master.ingest import Refused
from gatewayx.slo.master.master import Master
from gatewayx.slo.snapshot import SLOSnapshot
from tests.slo.master.conftest import MasterFactory
from tests.slo.master.snapshots import (
    START_MS,
    FakeClock,
    dump,
    edge,
    ingress,
    route,
    service,
    snapshot,
)


def everything(seq: int = 1, end_ms: int = START_MS, **fields: Any) -> SLOSnapshot:
    """A snapshot with a record of every kind."""
    return snapshot(
        seq,
        end_ms,
        services=[service("default/web", 90, 10, latency=(50, 30, 10, 5, 5), latency_sum=4000)],
        edges=[edge("default/web", "default/db", 80, 3, 400)],
        ingress=[ingress("default-web-80", [("200", "GET", 70), ("503", "POST", 2)])],
        routes=[route("shop.example.com", "default-web-80")],
        **fields,
    )


def changed(**fields: object) -> bytes:
    """The snapshot as JSON with some fields replaced."""
    return json.dumps(json.loads(everything().to_json()) | fields).encode()


def test_every_record_becomes_a_row(master: Master) -> None:
    receipt = master.receive_json(everything().to_json())
    assert (receipt.status, receipt.next_seq) == ("accepted", 2)
    rows = dump(master)
    assert rows["slo_service_raw"] == [
        (1, 1, 100, 10, {"200": 90}, {"500": 10}, 4000.0, 100, 1, [0, 50, 80, 90, 95, 100], 0, 100)
    ]
    assert rows["slo_edge_raw"] == [(1, 1, 80, 3, 400.0, 80)]
    assert rows["slo_metrics_raw"] == [
        (1, 1, 72, 2, {"GET": {"200": 70}, "POST": {"503": 2}}, 0.0, 0, None, None)
    ]
    assert rows["slo_bucket_bounds"] == [(1, "10,50,100,500,+Inf")]
    assert [row[1:5] for row in rows["slo_route_mapping"]] == [
        ("shop.example.com", "/", "default-web-80", "web")
    ]


def test_a_repeated_post_is_harmless(master: Master) -> None:
    body = everything().to_json()
    master.receive_json(body)
    before = dump(master)
    again = master.receive_json(body)
    assert (again.status, again.next_seq) == ("duplicate", 2)
    assert dump(master) == before


def test_the_same_seq_of_another_agent_is_another_snapshot(master: Master) -> None:
    master.receive_json(everything().to_json())
    assert master.receive_json(everything(agent="agent-2").to_json()).status == "accepted"


def test_routes_are_refreshed_at_most_once_a_minute(master: Master, clock: FakeClock) -> None:
    for seq in range(1, 6):
        master.receive_json(everything(seq, clock.now_ms).to_json())
        clock.advance(20)
    (row,) = dump(master)["slo_route_mapping"]
    assert (row[-2], row[-1]) == (START_MS, START_MS + 60_000)


NAN = everything().to_json().replace(b'"latency_sum":4000.0', b'"latency_sum":NaN')
assert b"NaN" in NAN

BAD_BODIES = {
    "empty": (b"", 422, "bad_snapshot"),
    "truncated": (everything().to_json()[:-20], 422, "bad_snapshot"),
    "not utf-8": (b"\xff\xfe{}", 422, "bad_snapshot"),
    "NaN": (NAN, 422, "bad_snapshot"),
    "wrong type": (changed(services="many"), 422, "bad_snapshot"),
    "text for a number": (changed(seq="1"), 422, "bad_snapshot"),
    "fraction": (changed(seq=1.5), 422, "bad_snapshot"),
    "unknown field": (changed(surprise=1), 422, "bad_snapshot"),
    "no zone": (changed(timestamp="2026-03-10T12:00:00"), 422, "bad_snapshot"),
    "foreign cluster": (changed(cluster_id="elsewhere"), 403, "foreign_cluster"),
    "future": (everything(2, START_MS + 61_000).to_json(), 422, "from_the_future"),
    "future timestamp": (
        changed(seq=2, timestamp="2026-03-10T12:05:00Z"),
        422,
        "from_the_future",
    ),
    "too old": (everything(2, START_MS - 86_401_000).to_json(), 422, "too_old"),
    "too long": (everything(2, length_s=3601).to_json(), 422, "interval_too_long"),
    "seq used": (everything(1, START_MS - 15_000).to_json(), 422, "seq_conflict"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_input_is_refused_and_changes_nothing(master: Master, name: str) -> None:
    body, status, reason = BAD_BODIES[name]
    master.receive_json(everything().to_json())
    before = dump(master)
    with pytest.raises(Refused) as refused:
        master.receive_json(body)
    assert (refused.value.status, refused.value.reason) == (status, reason)
    assert refused.value.details
    assert dump(master) == before


def test_a_conflict_tells_where_to_go_on(master: Master) -> None:
    for seq in (1, 2, 7):
        master.receive_json(everything(seq, START_MS - 1000 * seq).to_json())
    with pytest.raises(Refused) as refused:
        master.receive_json(everything(2, START_MS - 50_000).to_json())
    assert refused.value.next_seq == 8


@pytest.mark.parametrize(
    ("limit", "records"),
    [
        ("services_max", {"services": [service("a/one", 1), service("a/two", 1)]}),
        ("edges_max", {"edges": [edge("a/x", "a/y", 1), edge("a/y", "a/x", 1)]}),
        ("ingress_max", {"ingress": [ingress("a", []), ingress("b", [])]}),
        ("routes_max", {"routes": [route("a.example", "k"), route("b.example", "k")]}),
        ("buckets_max", {"services": [service("a/one", 1, latency=(1, 0, 0, 0, 0))]}),
        ("body_max_bytes", {"services": [service(f"a/s{n}", 1) for n in range(20)]}),
    ],
)
def test_limits_hold(
    open_master: MasterFactory, sqlite_url: str, limit: str, records: dict[str, Any]
) -> None:
    ceiling = 1024 if limit == "body_max_bytes" else 1
    master = open_master(sqlite_url, limits={limit: ceiling})
    before = dump(master)
    with pytest.raises(Refused) as refused:
        master.receive_json(snapshot(1, START_MS, **records).to_json())
    assert refused.value.status == (413 if limit == "body_max_bytes" else 422)
    assert dump(master) == before


def test_names_of_many_snapshots_add_up_to_the_limit(
    open_master: MasterFactory, sqlite_url: str
) -> None:
    master = open_master(sqlite_url, limits={"services_max": 2})
    for seq, name in enumerate(("a/one", "a/two"), 1):
        master.receive_json(snapshot(seq, START_MS, services=[service(name, 1)]).to_json())
    before = dump(master)
    with pytest.raises(Refused, match="more than 2 services"):
        master.receive_json(snapshot(3, START_MS, services=[service("a/three", 1)]).to_json())
    assert dump(master) == before


def test_a_failure_in_the_middle_leaves_nothing(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(master)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "record_routes", fail)
        with pytest.raises(OSError, match="disk full"):
            master.receive_json(everything().to_json())
    assert dump(master) == before
    # The names of the failed snapshot were not remembered as stored.
    master.receive_json(everything().to_json())
    with master.store.read() as conn:
        assert conn.scalar(select(func.count()).select_from(tables.services)) == 2
