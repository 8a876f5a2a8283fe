"""Targets, statuses, budgets, fault costs, and the life of an alert."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from gatewayx.slo.master import tables
from gatewayx.slo.master.alerts import list_alerts
from gatewayx.slo.master.budgets import budgets
from gatewayx.slo.master.burn import duration_name, evaluate
from gatewayx.slo.master.faults import (
    FaultWindow,
    StoredFaultWindows,
    close_windows,
    fault_costs,
    open_window,
)
from gatewayx.slo.master.figures import Figures
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.plan import range_before
from gatewayx.slo.master.statuses import status_changes
from gatewayx.slo.master.targets import Status, Target, TargetBody, put_targets
from tests.slo.master.snapshots import START_MS, FakeClock, Poster, ingress, service

TARGET = Target("service", "a/one", 99.0, 500.0, 30, 100, is_default=False)


def set_target(master: Master, **fields: object) -> None:
    with master.store.write() as conn:
        body = TargetBody(target_type="service", target_key="a/one", **fields)
        put_targets(master.store, conn, 1, [body], master.settings.target, master.clock())


@pytest.mark.parametrize(
    ("total", "errors", "p95_ms", "status"),
    [
        (0, 0, None, Status.UNKNOWN),
        (1000, 0, 500.0, Status.HEALTHY),
        (1000, 5, None, Status.HEALTHY),
        (1000, 6, 100.0, Status.WARNING),
        (1000, 0, 500.1, Status.WARNING),
        (1000, 10, 100.0, Status.WARNING),
        (1000, 11, 100.0, Status.CRITICAL),
    ],
)
def test_a_target_judges(total: int, errors: int, p95_ms: float | None, status: Status) -> None:
    assert TARGET.judge(Figures(total=total, errors=errors), p95_ms) == status


def test_a_target_set_in_part_keeps_the_rest(master: Master, clock: FakeClock) -> None:
    set_target(master, p95_ms=250.0)
    set_target(master, availability_percent=99.5)
    with master.readings.open("default", range_before(clock.now_ms, 3600)) as reading:
        target = reading.targets.find("service", "a/one")
        other = reading.targets.find("ingress", "a/one")
    assert (target.p95_ms, target.availability_percent, target.is_default) == (250.0, 99.5, False)
    assert (other.p95_ms, other.availability_percent, other.is_default) == (500.0, 99.9, True)


def test_a_budget_by_hand(master: Master, clock: FakeClock) -> None:
    set_target(master, availability_percent=99.0)
    poster = Poster(master, clock, step_s=900)
    poster.post(services=[service("a/one", 9_970, 30)])
    clock.advance(7200)
    poster.post(services=[service("a/one", 9_990, 10)])
    master.roll_up()
    with master.readings.open("default", range_before(clock.now_ms, 3600)) as reading:
        (budget,) = budgets(reading, StoredFaultWindows())
        (same,) = budgets(reading, StoredFaultWindows(), only=("service", "a/one"))
    assert budget == same
    assert budget["allowed_errors"] == pytest.approx(200)
    assert budget["errors"] == 40
    assert budget["budget_left_percent"] == pytest.approx(80)
    assert budget["burn_rate_1h"] == pytest.approx(0.1)
    # 80 % of a budget that would last 30 days at rate 1 lasts 240 days at rate 0.1.
    assert budget["seconds_to_exhaustion"] == pytest.approx(240 * 86400)


def test_a_budget_of_too_few_events_says_so(master: Master, clock: FakeClock) -> None:
    Poster(master, clock).post(services=[service("a/one", 98, 1)])
    with master.readings.open("default", range_before(clock.now_ms, 3600)) as reading:
        (budget,) = budgets(reading, StoredFaultWindows())
    assert budget["state"] == "insufficient_data"
    assert budget["budget_left_percent"] is None
    assert budget["seconds_to_exhaustion"] is None


def test_a_target_that_nobody_reports_has_a_budget(master: Master, clock: FakeClock) -> None:
    set_target(master, availability_percent=99.0)
    with master.readings.open("default", range_before(clock.now_ms, 3600)) as reading:
        (budget,) = budgets(reading, StoredFaultWindows())
    assert (budget["target"], budget["state"]) == ("a/one", "insufficient_data")


def test_status_changes_are_history(master: Master, clock: FakeClock) -> None:
    poster = Poster(master, clock)
    for failed in (0, 50, 50):
        poster.post(services=[service("a/one", 1000, failed)])
        master.evaluate()
    clock.advance(7200)  # silence is not recovery
    master.evaluate()
    poster.post(services=[service("a/one", 1000, 0)])
    master.evaluate()
    with master.store.read() as conn:
        changes = status_changes(conn, 1, range_before(clock.now_ms, 86400))
    assert [(change["previous"], change["status"]) for change in changes] == [
        ("critical", "healthy"),
        ("healthy", "critical"),
        (None, "healthy"),
    ]


def alert_states(master: Master) -> dict[str, str]:
    with master.store.read() as conn:
        return {alert.rule: alert.state for alert in reversed(list_alerts(conn, 1))}


def test_the_life_of_an_alert(master: Master, clock: FakeClock) -> None:
    """Ten minutes of errors: page_1h_5m goes pending, fires after its hold, and is resolved."""
    poster = Poster(master, clock, step_s=30)
    seen = []
    for minute in range(20):
        for _ in range(2):
            failed = 20 if 2 <= minute < 12 else 0
            poster.post(services=[service("a/one", 100 - failed, failed)])
        master.roll_up()
        master.evaluate()
        state = alert_states(master).get("page_1h_5m")
        if not seen or seen[-1][1] != state:
            seen.append((minute, state))
    assert [state for _, state in seen] == [None, "pending", "firing", "resolved"]
    assert seen[2][0] == seen[1][0] + 1  # held for one minute
    with master.store.read() as conn:
        (alert,) = (one for one in list_alerts(conn, 1) if one.rule == "page_1h_5m")
    assert alert.fired_ms - alert.pending_ms == 60_000
    assert alert.resolved_ms > alert.fired_ms


def test_a_pending_alert_that_ends_leaves_nothing(master: Master, clock: FakeClock) -> None:
    poster = Poster(master, clock)
    poster.post(services=[service("a/one", 50, 50)])
    master.evaluate()
    assert set(alert_states(master).values()) == {"pending"}
    poster.post(services=[service("a/one", 10_000_000, 0)])
    master.evaluate()
    assert alert_states(master) == {}


def test_too_few_events_never_alert(master: Master, clock: FakeClock) -> None:
    Poster(master, clock).post(services=[service("a/one", 0, 99)], ingress=[ingress("k", [])])
    with master.readings.open("default", range_before(clock.now_ms, 3600)) as reading:
        burns = evaluate(reading, master.settings.burn_rules)
    assert [burn.burn_long for burn in burns if burn.events] == [pytest.approx(1000)] * 4
    assert not any(burn.sufficient or burn.exceeded for burn in burns)


@pytest.mark.parametrize(
    ("seconds", "name"), [(300, "5m"), (3600, "1h"), (86400, "1d"), (5400, "90m"), (61, "61s")]
)
def test_durations_are_named_as_prometheus_does(seconds: int, name: str) -> None:
    assert duration_name(seconds) == name


def test_faults_cost_what_was_lost_while_they_were_open(master: Master, clock: FakeClock) -> None:
    """Two overlapping policies on one service, and one on another that loses nothing."""
    set_target(master, availability_percent=99.0)
    windows = [
        FaultWindow("abort-some", "abort", "service", "a/one", START_MS + 60_000, None),
        FaultWindow(
            "delay-some", "delay", "service", "a/one", START_MS + 120_000, START_MS + 180_000
        ),
        FaultWindow("idle", "abort", "service", "a/two", START_MS + 60_000, START_MS + 90_000),
    ]
    with master.store.write() as conn:
        for window in windows:
            open_window(conn, 1, window)
    poster = Poster(master, clock, step_s=60)
    for failed in (5, 10, 20, 40):
        poster.post(services=[service("a/one", 1000 - failed, failed), service("a/two", 500)])
        if failed == 10:
            master.roll_up()
    with master.store.write() as conn:
        assert close_windows(conn, 1, "abort-some", clock.now_ms) == 1
    source = StoredFaultWindows()
    with master.readings.open("default", range_before(clock.now_ms, 3600)) as reading:
        costs = {cost["policy"]: cost for cost in fault_costs(reading, source)}
        only = fault_costs(reading, source, only=("service", "a/two"))
        (budget, *_) = budgets(reading, source)
    # 10 alone, half of the 20 of the overlap, 40 alone; 1 % of 4000 requests is allowed.
    assert costs["abort-some"]["errors"] == pytest.approx(60)
    assert costs["abort-some"]["budget_share_percent"] == pytest.approx(150)
    assert costs["delay-some"]["errors"] == pytest.approx(10)
    assert costs["delay-some"]["budget_share_percent"] == pytest.approx(25)
    assert costs["idle"]["errors"] == 0
    assert [cost["policy"] for cost in only] == ["idle"]
    assert budget["target"] == "a/one"
    assert {fault["policy"] for fault in budget["faults"]} == {"abort-some", "delay-some"}


def test_faults_outside_the_range_are_left_out(master: Master, clock: FakeClock) -> None:
    with master.store.write() as conn:
        old = FaultWindow(
            "old", "abort", "service", "a/one", START_MS - 9_000_000, START_MS - 8_000_000
        )
        open_window(conn, 1, old)
        assert conn.scalar(select(tables.fault_windows.c.policy)) == "old"
    with master.readings.open("default", range_before(clock.now_ms, 3600)) as reading:
        assert fault_costs(reading, StoredFaultWindows()) == []
