"""Counters and histograms in one process."""

import math
import threading
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx.primitives import Counter, Histogram

LATENCY_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def test_a_counter_counts() -> None:
    counter = Counter()
    assert counter.value == 0
    counter.inc()
    counter.inc(41)
    counter.inc(0)
    assert counter.value == 42


def test_a_counter_only_grows() -> None:
    counter = Counter()
    with pytest.raises(OverflowError):
        counter.inc(-1)
    with pytest.raises(TypeError):
        counter.inc(1.5)  # type: ignore[arg-type]
    assert counter.value == 0


def test_observations_fall_into_buckets() -> None:
    histogram = Histogram()
    assert histogram.bounds == LATENCY_BOUNDS
    assert histogram.cells == 11
    for seconds in (0.0, 0.01, 0.0100001, 2, 10.0, 11.0):
        histogram.observe(seconds)
    snapshot = histogram.snapshot()
    counts = (2, 3, 3, 3, 3, 3, 4, 4, 5, 6)
    assert snapshot.buckets == tuple(zip((*LATENCY_BOUNDS, math.inf), counts, strict=True))
    assert snapshot.count == 6
    assert snapshot.sum == pytest.approx(23.0200001)
    assert repr(snapshot).startswith("HistogramSnapshot(count=6, sum=23.02")


def test_a_snapshot_stays_as_it_was() -> None:
    histogram = Histogram([1.0])
    before = histogram.snapshot()
    histogram.observe(0.5)
    assert (before.count, before.sum, histogram.snapshot().count) == (0, 0.0, 1)


@pytest.mark.parametrize("seconds", [-0.001, -math.inf, math.inf, math.nan, 1e12])
def test_what_is_no_duration_is_refused(seconds: float) -> None:
    histogram = Histogram()
    with pytest.raises(ValueError, match="seconds"):
        histogram.observe(seconds)
    assert histogram.snapshot().count == 0


@pytest.mark.parametrize(
    "bounds",
    [[2.0, 1.0], [1.0, 1.0], [1.0, 1.0 + 1e-12], [-1.0], [math.nan], [math.inf]],
)
def test_bounds_that_do_not_ascend_are_refused(bounds: list[float]) -> None:
    with pytest.raises(ValueError, match=r"ascending|seconds"):
        Histogram(bounds)


def test_bounds_are_bounded() -> None:
    assert Histogram([float(bound) for bound in range(256)]).cells == 258
    with pytest.raises(ValueError, match="256"):
        Histogram([float(bound) for bound in range(257)])


def test_a_histogram_may_have_no_bounds() -> None:
    histogram = Histogram([])
    histogram.observe(3)
    assert histogram.snapshot().buckets == ((math.inf, 1),)


@given(
    bounds=st.lists(st.integers(0, 10**6), unique=True, max_size=40).map(sorted),
    values=st.lists(st.integers(0, 10**6), max_size=60),
)
def test_buckets_agree_with_their_definition(bounds: list[int], values: list[int]) -> None:
    """In whole microseconds, so that the expectation is exact."""
    histogram = Histogram([bound / 1e6 for bound in bounds])
    for value in values:
        histogram.observe(value / 1e6)
    snapshot = histogram.snapshot()
    expected = [sum(value <= bound for value in values) for bound in bounds]
    assert [count for _, count in snapshot.buckets] == [*expected, len(values)]
    assert snapshot.sum == pytest.approx(sum(values) / 1e6)


def test_threads_count_everything() -> None:
    counter, histogram = Counter(), Histogram([0.001, 0.002])

    def work() -> None:
        for turn in range(1000):
            counter.inc(2)
            histogram.observe(turn % 3 / 1000)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value == 8000
    counts = [count for _, count in histogram.snapshot().buckets]
    assert counts == [2668, 4000, 4000]
    steps = [above - below for below, above in pairwise([0, *counts])]
    assert list(accumulate(steps)) == counts
    assert histogram.snapshot().sum == pytest.approx(4 * 333 * 0.003)
