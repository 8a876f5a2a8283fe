"""Rows go when they are out of date, not before, and never before they were added up."""

from __future__ import annotations

import pytest

from gatewayx.slo.master.faults import FaultWindow, open_window
from gatewayx.slo.master.ingest import Refused
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.plan import range_before
from gatewayx.slo.snapshot import SLOSnapshot
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

DAY_S = 86400


def some_of_everything(seq: int, end_ms: int) -> SLOSnapshot:
    return snapshot(
        seq,
        end_ms,
        services=[service("a/one", 100, 50)],
        edges=[edge("a/one", "a/two", 5)],
        ingress=[ingress("k", [("200", "GET", 1)])],
        routes=[route("a.example.com", "k")],
    )


def test_rows_live_as_long_as_their_retention(master: Master, clock: FakeClock) -> None:
    master.receive_json(some_of_everything(1, START_MS).to_json())
    master.roll_up()
    master.evaluate()
    with master.store.write() as conn:
        open_window(conn, 1, FaultWindow("p", "abort", "service", "a/one", START_MS, START_MS + 1))
    full = {name for name, rows in dump(master).items() if rows}
    raw = {"slo_service_raw", "slo_edge_raw", "slo_metrics_raw", "slo_snapshots"}
    fine = {"slo_service_5m", "slo_edge_5m", "slo_metrics_5m"}
    names = {"slo_services", "slo_edges", "slo_ingress_keys"}
    hourly = {
        f"slo_{kind}_{span}"
        for kind in ("service", "edge", "metrics")
        for span in ("hourly", "daily")
    }
    assert raw | fine | hourly | names | {"slo_status_history", "slo_route_mapping"} <= full

    def left_after(seconds: int) -> set[str]:
        clock.now_ms = START_MS + seconds * 1000
        master.clean()
        return {name for name, rows in dump(master).items() if rows}

    assert left_after(2 * DAY_S - 1) == full
    assert full - left_after(2 * DAY_S + 300) == raw | fine
    assert hourly <= left_after(90 * DAY_S - 3600)
    # A day is kept until all of it is out of date.
    old = left_after(91 * DAY_S)
    assert not old & (hourly | names | {"slo_route_mapping"})
    assert {"slo_status_history", "slo_fault_windows"} <= old
    assert not left_after(181 * DAY_S) & {"slo_status_history", "slo_fault_windows"}


def test_what_is_not_rolled_yet_stays(master: Master, clock: FakeClock) -> None:
    master.receive_json(some_of_everything(1, START_MS).to_json())
    before = dump(master)
    clock.advance(3 * DAY_S)
    master.clean()
    assert dump(master) == before
    master.roll_up()
    master.clean()
    assert dump(master)["slo_snapshots"] == []
    with master.readings.open("default", range_before(clock.now_ms, 7 * DAY_S)) as reading:
        (figures,) = reading.reader.services(reading.conn, reading.plan).values()
    assert figures.total == 150


def test_a_name_that_comes_back_is_known_again(master: Master, clock: FakeClock) -> None:
    master.receive_json(some_of_everything(1, START_MS).to_json())
    master.roll_up()
    clock.advance(200 * DAY_S)
    master.clean()
    assert dump(master)["slo_services"] == []
    master.receive_json(some_of_everything(2, clock.now_ms).to_json())
    with master.readings.open("default", range_before(clock.now_ms, 3600)) as reading:
        (identity,) = reading.reader.services(reading.conn, reading.plan)
        assert reading.key_of("service", identity) == "a/one"


def test_a_replay_of_a_removed_snapshot_is_refused(master: Master, clock: FakeClock) -> None:
    body = some_of_everything(1, START_MS).to_json()
    master.receive_json(body)
    master.roll_up()
    clock.advance(3 * DAY_S)
    master.clean()
    before = dump(master)
    with pytest.raises(Refused) as refused:
        master.receive_json(body)
    assert refused.value.reason == "too_old"
    assert dump(master) == before
