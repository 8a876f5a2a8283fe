"""Packing loses nothing; quantiles are Prometheus's and stay within a bucket of the truth."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx.slo.master.histogram import (
    NO_QUANTILE,
    merge_packed,
    pack,
    per_bucket,
    quantile,
    unpack,
)

COUNTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=30)
LINKERD_MS = (1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1000, 2000, 3000, 4000)
BOUNDS_MS = (*map(float, LINKERD_MS), math.inf)


@given(COUNTS)
def test_unpack_inverts_pack(counts: list[int]) -> None:
    cumulative = list(accumulate(counts))
    packed = pack(cumulative)
    assert unpack(packed, len(cumulative)) == cumulative
    assert len(packed) <= len(cumulative) + 1


def test_pack_drops_what_repeats() -> None:
    assert pack([0, 0, 3, 9, 9, 9]) == [2, 3, 9]
    assert pack([0, 0, 0]) == [3]


@given(st.lists(st.lists(st.integers(0, 1000), min_size=6, max_size=6), max_size=8))
def test_merging_packed_adds_unpacked(rows: list[list[int]]) -> None:
    cumulative = [list(accumulate(row)) for row in rows]
    expected = [sum(column) for column in zip(*cumulative, strict=True)] or [0] * 6
    assert merge_packed(map(pack, cumulative), 6) == expected


@given(COUNTS)
def test_per_bucket_inverts_accumulation(counts: list[int]) -> None:
    assert per_bucket(list(accumulate(counts))) == counts


@given(
    st.lists(st.floats(0.001, 3999), min_size=1, max_size=400),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_quantile_is_within_the_bucket_of_numpys(samples: list[float], q: float) -> None:
    counts = [0] * len(BOUNDS_MS)
    for sample in samples:
        counts[bisect_left(BOUNDS_MS, sample)] += 1
    answer = quantile(q, BOUNDS_MS, list(accumulate(counts)))
    assert answer.value_ms is not None
    assert not answer.saturated
    # The sample of rank ceil(q * n): the definition that buckets can answer.
    truth = float(np.quantile(samples, q, method="inverted_cdf"))
    place = bisect_left(BOUNDS_MS, truth)
    lower = BOUNDS_MS[place - 1] if place else 0.0
    assert lower <= answer.value_ms <= BOUNDS_MS[place] * (1 + 1e-12)


@pytest.mark.parametrize(
    ("q", "bounds_ms", "cumulative", "value_ms", "saturated"),
    [
        (0.5, (10.0, 20.0, math.inf), (10, 20, 20), 10.0, False),
        (0.75, (10.0, 20.0, math.inf), (10, 20, 20), 15.0, False),
        (0.25, (10.0, 20.0, math.inf), (10, 20, 20), 5.0, False),
        (0.99, (10.0, 20.0, math.inf), (10, 20, 100), 20.0, True),
        (0.5, (0.0, 20.0, math.inf), (8, 10, 10), 0.0, False),
    ],
)
def test_quantile_by_hand(
    q: float,
    bounds_ms: tuple[float, ...],
    cumulative: tuple[int, ...],
    value_ms: float,
    saturated: bool,
) -> None:
    answer = quantile(q, bounds_ms, cumulative)
    assert (answer.value_ms, answer.saturated) == (value_ms, saturated)


@pytest.mark.parametrize("cumulative", [(0, 0, 0), (7,)])
def test_no_data_is_no_value(cumulative: tuple[int, ...]) -> None:
    assert quantile(0.95, BOUNDS_MS[-len(cumulative) :], cumulative) == NO_QUANTILE
