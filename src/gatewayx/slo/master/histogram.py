"""Cumulative histograms: packing for the store, merging, quantiles.

A histogram is a set of bounds (upper edges in ms, ascending, the last one +Inf) and as many
cumulative counts. Only histograms of equal bounds are ever added together. Quantiles follow
Prometheus's `histogram_quantile` operation for operation, so that the answers are equal to the last
bit and not merely close.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile in ms; `saturated` when it fell past the last finite bound."""

    value_ms: float | None
    saturated: bool


NO_QUANTILE = Quantile(None, saturated=False)


def quantile(q: float, bounds_ms: Sequence[float], cumulative: Sequence[int]) -> Quantile:
    """The q-quantile, linear inside its bucket; no observations give no value."""
    if len(bounds_ms) < 2 or not cumulative[-1]:
        return NO_QUANTILE
    rank = q * cumulative[-1]
    last = len(bounds_ms) - 1
    place = bisect_left(cumulative, rank, 0, last)
    if place == last:
        return Quantile(bounds_ms[last - 1], saturated=True)
    upper = bounds_ms[place]
    if place == 0:
        if upper <= 0:
            return Quantile(upper, saturated=False)
        if not cumulative[0]:
            return NO_QUANTILE  # q = 0 above an empty first bucket: 0/0
        return Quantile(upper * (rank / cumulative[0]), saturated=False)
    lower, below = bounds_ms[place - 1], cumulative[place - 1]
    inside = (rank - below) / (cumulative[place] - below)
    return Quantile(lower + (upper - lower) * inside, saturated=False)


def pack(cumulative: Sequence[int]) -> list[int]:
    """`[skip, counts...]` without leading zeros and without repeats of the last count."""
    total = cumulative[-1]
    start, end = bisect_left(cumulative, 1), bisect_left(cumulative, total) + 1
    return [start, *cumulative[start:end]] if total else [len(cumulative)]


def unpack(packed: Sequence[int], length: int) -> list[int]:
    """The inverse of `pack`; `length` counts the bounds."""
    skip, counts = packed[0], packed[1:]
    last = counts[-1] if counts else 0
    return [*([0] * skip), *counts, *([last] * (length - skip - len(counts)))]


def merge_packed(histograms: Iterable[Sequence[int]], length: int) -> list[int]:
    """The sum of packed histograms of the same bounds, unpacked."""
    rows = [unpack(packed, length) for packed in histograms]
    return list(map(sum, zip(*rows, strict=True))) if rows else [0] * length


def per_bucket(cumulative: Sequence[int]) -> list[int]:
    """Counts inside each bucket rather than up to it."""
    return [count - below for count, below in zip(cumulative, [0, *cumulative], strict=False)]
