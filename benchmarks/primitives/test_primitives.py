"""Each primitive beside what users would write instead: `pytest benchmarks/primitives`.

A batch is a thousand operations, so a time in microseconds reads as nanoseconds of one. An
operation is a pair of calls where the name says so, and includes the step of the loop around it.
"""

import asyncio
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import pytest

from gatewayx.primitives import ConcurrencyLimiter, SharedRegion

Measure = Callable[[Callable[[], object]], int]

OPERATIONS = 1000
"""Of one timed batch."""

LATENCIES = list(islice(cycle([0.004, 0.3, 0.02, 1.7, 0.08, 11.0, 0.2, 0.7, 4.0, 7.5]), OPERATIONS))
"""Every bucket in turn."""


@pytest.mark.benchmark(group="limiter: acquire + release")
def test_limiter(primitives: Any, measure: Measure) -> None:
    limiter = primitives.ConcurrencyLimiter(10)

    def batch() -> None:
        acquire, release = limiter.acquire, limiter.release
        for _ in range(OPERATIONS):
            acquire()
            release()

    measure(batch)
    assert limiter.available() == 10


@pytest.mark.benchmark(group="limiter: refusal")
def test_limiter_refusal(primitives: Any, measure: Measure) -> None:
    limiter = primitives.ConcurrencyLimiter(1)
    assert limiter.acquire()

    def batch() -> None:
        acquire = limiter.acquire
        for _ in range(OPERATIONS):
            acquire()

    measure(batch)
    assert not limiter.acquire()


class SemaphoreLimiter:
    """asyncio's own, under the limiter's names."""

    def __init__(self, max_concurrent: int) -> None:
        self._semaphore = asyncio.Semaphore(max_concurrent)
        self.acquire_blocking = self._semaphore.acquire
        self.release = self._semaphore.release

    async def __aenter__(self) -> None:
        await self._semaphore.__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        await self._semaphore.__aexit__(*exc)


LIMITERS = pytest.mark.parametrize(
    "make", [ConcurrencyLimiter, SemaphoreLimiter], ids=["native", "asyncio"]
)


@LIMITERS
@pytest.mark.benchmark(group="limiter: await a free permit + release")
def test_await_a_free_permit(make: Callable[[int], Any], measure: Measure) -> None:
    async def batch(limiter: Any) -> None:
        for _ in range(OPERATIONS):
            await limiter.acquire_blocking()
            limiter.release()

    with asyncio.Runner() as runner:
        limiter = make(10)
        measure(lambda: runner.run(batch(limiter)))


@LIMITERS
@pytest.mark.benchmark(group="limiter: hand a permit from task to task")
def test_hand_over(make: Callable[[int], Any], measure: Measure) -> None:
    served = 0

    async def worker(limiter: Any) -> None:
        nonlocal served
        for _ in range(OPERATIONS // 10):
            await limiter.acquire_blocking()
            await asyncio.sleep(0)
            served += 1
            limiter.release()

    async def batch(limiter: Any) -> None:
        await asyncio.gather(*(worker(limiter) for _ in range(10)))

    with asyncio.Runner() as runner:
        limiter = make(1)
        assert measure(lambda: runner.run(batch(limiter))) == served


@pytest.mark.benchmark(group="breaker: allow + record_success")
def test_breaker(primitives: Any, measure: Measure) -> None:
    breaker = primitives.CircuitBreaker()

    def batch() -> None:
        allow, record_success = breaker.allow, breaker.record_success
        for _ in range(OPERATIONS):
            record_success(allow())

    measure(batch)
    assert breaker.state == "closed"


@pytest.mark.benchmark(group="breaker: refusal")
def test_breaker_refusal(primitives: Any, measure: Measure) -> None:
    breaker = primitives.CircuitBreaker(1, 3600.0)
    breaker.record_failure(breaker.allow())

    def batch() -> None:
        allow = breaker.allow
        for _ in range(OPERATIONS):
            allow()

    measure(batch)
    assert (breaker.state, breaker.allow()) == ("open", 0)


@pytest.mark.benchmark(group="pool: acquire + release of 32 KiB")
def test_pool(primitives: Any, measure: Measure) -> None:
    pool = primitives.BufferPool()

    def batch() -> None:
        acquire, release = pool.acquire, pool.release
        for _ in range(OPERATIONS):
            release(acquire())

    operations = measure(batch)
    assert pool.stats() == {
        "in_use": 0,
        "free": 1,
        "hits": operations - 1,
        "exhausted_total": 0,
    }


@pytest.mark.benchmark(group="histogram: observe")
def test_histogram(primitives: Any, measure: Measure) -> None:
    histogram = primitives.Histogram()

    def batch() -> None:
        observe = histogram.observe
        for seconds in LATENCIES:
            observe(seconds)

    operations = measure(batch)
    snapshot = getattr(histogram, "snapshot", lambda: histogram)()
    assert snapshot.count == operations


@pytest.mark.benchmark(group="counter: inc")
def test_counter(primitives: Any, measure: Measure) -> None:
    counter = primitives.Counter()

    def batch() -> None:
        inc = counter.inc
        for _ in range(OPERATIONS):
            inc()

    assert measure(batch) == counter.value


@pytest.mark.benchmark(group="counter: inc")
def test_counter_in_shared_memory(measure: Measure) -> None:
    """Across processes; neither of the others has anything to compare with."""
    from gatewayx.primitives import Counter

    counter = Counter(region=SharedRegion.create(1))

    def batch() -> None:
        inc = counter.inc
        for _ in range(OPERATIONS):
            inc()

    assert measure(batch) == counter.value


HEAD = (
    b"POST /v1/chat/completions?stream=true HTTP/1.1\r\n"
    b"Host: api.example.com\r\n"
    b"User-Agent: python-httpx/0.28.1\r\n"
    b"Accept: text/event-stream\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Connection: keep-alive\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: 512\r\n"
    b"Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n"
    b"X-Request-Id: 4bf92f3577b34da6a3ce929d0e0e4736\r\n"
    b"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
    b"\r\n"
)


@pytest.mark.benchmark(group="codec: a request head of ten fields")
def test_codec(primitives: Any, measure: Measure) -> None:
    parse = primitives.parse_request

    def batch() -> None:
        for _ in range(OPERATIONS):
            parse(HEAD)

    measure(batch)
    method, target, minor, fields, length = parse(HEAD)
    assert (method, target, minor) == (b"POST", b"/v1/chat/completions?stream=true", 1)
    assert (len(fields), fields[6], length) == (10, (b"Content-Length", b"512"), len(HEAD))
    assert parse(HEAD[:-1]) is None
