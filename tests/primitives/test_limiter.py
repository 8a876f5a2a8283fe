"""The limiter with threads."""

import gc
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gatewayx.primitives import ConcurrencyLimiter


def wait_for_waiters(limiter: ConcurrencyLimiter, count: int) -> None:
    """Until so many are in the queue; the suite's own timeout ends a wait in vain."""
    while limiter.waiting() != count:
        time.sleep(0.001)


@contextmanager
def started(*threads: threading.Thread) -> Iterator[None]:
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def test_permits_are_counted() -> None:
    limiter = ConcurrencyLimiter(2)
    assert [limiter.acquire() for _ in range(3)] == [True, True, False]
    assert (limiter.available(), limiter.in_use(), limiter.waiting()) == (0, 2, 0)
    limiter.release()
    assert (limiter.available(), limiter.in_use()) == (1, 1)
    assert limiter.acquire()


def test_a_release_too_many_is_refused() -> None:
    limiter = ConcurrencyLimiter(1)
    with pytest.raises(RuntimeError, match="release without acquire"):
        limiter.release()
    assert limiter.acquire()
    limiter.release()
    with pytest.raises(RuntimeError, match="release without acquire"):
        limiter.release()
    assert limiter.available() == 1


@pytest.mark.parametrize("max_concurrent", [0, -1])
def test_no_limit(max_concurrent: int) -> None:
    limiter = ConcurrencyLimiter(max_concurrent)
    assert all(limiter.acquire() for _ in range(1000))
    assert limiter.acquire_with_timeout(0)
    assert (limiter.available(), limiter.in_use()) == (None, 1001)
    for _ in range(1001):
        limiter.release()
    with pytest.raises(RuntimeError, match="release without acquire"):
        limiter.release()


@pytest.mark.parametrize("seconds", [0, -1, -float("inf"), 0.001])
def test_a_wait_that_runs_out_leaves_nothing(seconds: float) -> None:
    limiter = ConcurrencyLimiter(1)
    assert limiter.acquire_with_timeout(seconds)
    assert not limiter.acquire_with_timeout(seconds)
    assert limiter.waiting() == 0
    limiter.release()
    assert limiter.available() == 1


def test_a_time_that_is_none_is_refused() -> None:
    limiter = ConcurrencyLimiter(1)
    with pytest.raises(ValueError, match="not a number"):
        limiter.acquire_with_timeout(float("nan"))
    with pytest.raises(ValueError, match="not a number of seconds"):
        limiter.acquire_with_timeout(1e300)
    assert limiter.in_use() == 0


@pytest.mark.parametrize("seconds", [None, float("inf"), 3600.0])
def test_waiting_threads_are_served_in_their_order(seconds: float | None) -> None:
    limiter = ConcurrencyLimiter(1)
    assert limiter.acquire()
    served: list[int] = []

    def work(number: int) -> None:
        assert limiter.acquire_with_timeout(seconds)
        served.append(number)
        limiter.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for count, thread in enumerate(threads, 1):
        thread.start()
        wait_for_waiters(limiter, count)
    assert not limiter.acquire(), "nobody overtakes who waits"
    limiter.release()
    for thread in threads:
        thread.join()
    assert served == list(range(5))
    assert limiter.available() == 1


def test_a_wait_outlives_the_checks_for_signals() -> None:
    """Longer than the interval at which a waiting thread looks for signals; and a collection."""
    limiter = ConcurrencyLimiter(1)
    assert limiter.acquire()
    outcome: list[bool] = []
    with started(threading.Thread(target=lambda: outcome.append(limiter.acquire_with_timeout(60)))):
        wait_for_waiters(limiter, 1)
        time.sleep(0.25)
        gc.collect()
        assert limiter.waiting() == 1
        limiter.release()
    assert outcome == [True]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT interrupts, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_ends_a_wait() -> None:
    limiter = ConcurrencyLimiter(1)
    assert limiter.acquire()

    def interrupt() -> None:
        wait_for_waiters(limiter, 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with started(threading.Thread(target=interrupt)), pytest.raises(KeyboardInterrupt):
        limiter.acquire_with_timeout(None)
    assert (limiter.waiting(), limiter.in_use()) == (0, 1)


def test_a_permit_granted_while_a_signal_ends_the_wait_is_passed_on() -> None:
    """The handler itself releases: the waiter is granted a permit and then interrupted."""
    limiter = ConcurrencyLimiter(1)
    assert limiter.acquire()

    def release_and_raise(_number: int, _frame: object) -> None:
        limiter.release()
        raise InterruptedError

    def interrupt() -> None:
        wait_for_waiters(limiter, 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, release_and_raise)
    try:
        with started(threading.Thread(target=interrupt)), pytest.raises(InterruptedError):
            limiter.acquire_with_timeout(None)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert (limiter.waiting(), limiter.in_use()) == (0, 0)


def test_many_threads_never_pass_the_limit() -> None:
    limiter = ConcurrencyLimiter(3)
    inside: set[int] = set()
    most, outcomes = 0, {True: 0, False: 0}
    books = threading.Lock()

    def work(number: int) -> None:
        nonlocal most
        for turn in range(100):
            held = limiter.acquire_with_timeout([None, 0.0002, 0][turn % 3])
            with books:
                outcomes[held] += 1
            if held:
                with books:
                    inside.add(number)
                    most = max(most, len(inside))
                with books:
                    inside.remove(number)
                limiter.release()

    with started(*(threading.Thread(target=work, args=(number,)) for number in range(8))):
        pass
    assert most <= 3
    assert sum(outcomes.values()) == 800
    assert (limiter.available(), limiter.waiting()) == (3, 0)
