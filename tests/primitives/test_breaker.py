"""The breaker's clock, tickets and names; its rules are tested where they are written, in Rust."""

import gc
import threading
import weakref
from collections.abc import Callable

import pytest

from gatewayx.primitives import CircuitBreaker


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(clock: Clock, half_open_requests: int = 1) -> CircuitBreaker:
    breaker = CircuitBreaker(2, 30.0, half_open_requests, clock=clock)
    for _ in range(2):
        breaker.record_failure(breaker.allow())
    assert breaker.state == "open"
    return breaker


def test_its_life(clock: Clock) -> None:
    breaker = opened(clock)
    assert breaker.allow() == 0
    clock.seconds += 29.999
    assert (breaker.state, breaker.allow()) == ("open", 0)
    clock.seconds += 0.001
    assert breaker.state == "half_open"
    probe = breaker.allow()
    assert probe
    assert not breaker.allow()
    breaker.record_success(probe)
    assert breaker.state == "closed"
    assert breaker.allow()


def test_a_failed_probe_opens_it_again(clock: Clock) -> None:
    breaker = opened(clock)
    clock.seconds += 30
    breaker.record_failure(breaker.allow())
    assert breaker.state == "open"
    clock.seconds += 30
    assert breaker.state == "half_open"


def test_every_probe_must_succeed(clock: Clock) -> None:
    breaker = opened(clock, half_open_requests=2)
    clock.seconds += 30
    first, second = breaker.allow(), breaker.allow()
    assert not breaker.allow()
    breaker.record_success(first)
    assert breaker.state == "half_open"
    breaker.record_success(second)
    assert breaker.state == "closed"


def test_late_results_are_dropped(clock: Clock) -> None:
    breaker = CircuitBreaker(1, clock=clock)
    early = breaker.allow()
    also_early = breaker.allow()
    breaker.record_failure(early)
    clock.seconds += 30
    probe = breaker.allow()
    breaker.record_failure(also_early)
    breaker.record_cancelled(also_early)
    assert breaker.state == "half_open"
    assert not breaker.allow()
    breaker.record_success(probe)
    assert breaker.state == "closed"


def test_results_without_a_ticket_count_as_of_now(clock: Clock) -> None:
    breaker = CircuitBreaker(2, clock=clock)
    breaker.record_failure()
    breaker.record_success()
    breaker.record_failure()
    assert breaker.state == "closed"
    breaker.record_failure()
    assert breaker.state == "open"
    clock.seconds += 30
    assert breaker.allow()
    breaker.record_cancelled()
    assert breaker.allow()
    breaker.record_success()
    assert breaker.state == "closed"


def test_a_refusal_is_no_ticket(clock: Clock) -> None:
    breaker = opened(clock)
    refused = breaker.allow()
    clock.seconds += 30
    assert breaker.allow()
    breaker.record_success(refused)
    assert breaker.state == "half_open"


def test_reset_closes_and_makes_earlier_results_late(clock: Clock) -> None:
    breaker = CircuitBreaker(1, clock=clock)
    before = breaker.allow()
    breaker.record_failure(breaker.allow())
    breaker.reset()
    assert breaker.state == "closed"
    breaker.record_failure(before)
    assert breaker.state == "closed"


def test_the_clock_of_the_system_serves_when_none_is_given() -> None:
    breaker = CircuitBreaker(1, recovery_timeout=3600.0)
    breaker.record_failure(breaker.allow())
    assert (breaker.state, breaker.allow()) == ("open", 0)
    breaker = CircuitBreaker(1, recovery_timeout=0.0)
    breaker.record_failure(breaker.allow())
    assert breaker.state == "half_open"


def test_defaults() -> None:
    breaker = CircuitBreaker()
    for _ in range(4):
        breaker.record_failure()
    assert breaker.state == "closed"
    breaker.record_failure()
    assert breaker.state == "open"


@pytest.mark.parametrize(
    "make",
    [
        lambda: CircuitBreaker(0),
        lambda: CircuitBreaker(half_open_requests=0),
        lambda: CircuitBreaker(recovery_timeout=-1.0),
        lambda: CircuitBreaker(recovery_timeout=float("nan")),
        lambda: CircuitBreaker(recovery_timeout=float("inf")),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], CircuitBreaker]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|seconds"):
        make()


def test_a_failing_clock_fails_the_call_and_changes_nothing() -> None:
    def broken() -> float:
        raise LookupError("no time")

    breaker = CircuitBreaker(1, clock=broken)
    for touch in (breaker.allow, breaker.record_failure, lambda: breaker.state):
        with pytest.raises(LookupError, match="no time"):
            touch()
    breaker.record_success()


def test_a_clock_may_use_the_breaker() -> None:
    """It is called without the lock; otherwise this would hang."""
    breaker: CircuitBreaker

    def clock() -> float:
        breaker.reset()
        return 0.0

    breaker = CircuitBreaker(1, clock=clock)
    breaker.record_failure()
    assert breaker.state == "closed"


def test_a_cycle_through_the_clock_is_collected() -> None:
    class Owner:
        def __init__(self) -> None:
            self.breaker = CircuitBreaker(clock=self.now)

        def now(self) -> float:
            return 0.0

    owner = weakref.ref(Owner())
    gc.collect()
    assert owner() is None


def test_threads_trip_it_once(clock: Clock) -> None:
    breaker = CircuitBreaker(100, clock=clock)
    ready = threading.Barrier(4)

    def fail() -> None:
        ready.wait()
        for _ in range(25):
            breaker.record_failure(breaker.allow())

    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.state == "open"
