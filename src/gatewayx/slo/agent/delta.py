"""What happened between two scrapes, series by series.

Touches nothing but its arguments; time is one of them (`at`, seconds since the epoch).

Rules, per series, before anything is summed:

====================================  ==========================================================
what the scrape shows                 delta
====================================  ==========================================================
the agent's first scrape              none: a baseline, for every series
first scrape after a long gap         none: a baseline (longer than the exporter's expiry)
a series never seen before            its whole value: the process is new
a value that grew or stayed           the difference
a value that fell                     its whole value: the process started again
nothing, its target is there          none; the exporter evicted it, it will start from nothing
nothing, its target is gone too       none; the last value stays, the target may come back
back from a long absence, not lower   none: a baseline
an unreadable value                   none; the last value stays
====================================  ==========================================================

A histogram is judged whole. Without a reset the growth of its buckets is cumulative too, so growth
that is not (a bucket fell, or grew more than the one above it) proves a reset. Where the bounds
differ from the last ones, the bounds in common are compared: a line that got lost costs resolution
once, and counts nothing twice.

Invariant: the sum of a series' deltas never exceeds the events that it counted. What stays unknown:
events before a baseline; events after the last scrape of a process that ended; and, where a process
started again and passed its old value between two scrapes, as many as the old value. To keep the
invariant where a line is illegible, no absence is believed in that scrape, and series first seen in
the next one only get a baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from gatewayx.slo.agent.readings import (
    CounterDelta,
    CounterReading,
    Delta,
    HistogramDelta,
    HistogramReading,
    Reading,
    Scrape,
    Series,
)

EXPIRY_S = 300.0
"""How long an exporter repeats a series that its source no longer reports."""
RETENTION_S = 86_400.0
"""How long the last value of a series is kept while its target cannot be seen."""
SERIES_MAX = 500_000
"""Most series remembered. Beyond it those absent longest are forgotten."""


@dataclass(frozen=True, slots=True)
class CounterLast:
    """The last value of a counter; None: the series is there, its value was never readable."""

    value: int | None
    absent_since: float | None = None


@dataclass(frozen=True, slots=True)
class HistogramLast:
    """The last state of a histogram."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float | None
    absent_since: float | None = None


Last = CounterLast | HistogramLast
UNKNOWN = CounterLast(None)


@dataclass(frozen=True, slots=True)
class LastValues:
    """All that is remembered of earlier scrapes."""

    at: float | None = None
    """Time of the last scrape; None before the first."""
    illegible_lines: int = 0
    series: Mapping[Series, Last] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Advance:
    """One step: the deltas, the new memory, and what changed in it."""

    deltas: tuple[Delta, ...]
    last: LastValues
    changed: Mapping[Series, Last]
    forgotten: frozenset[Series]
    baseline: bool
    resets: int
    evictions: int


def advance(last: LastValues, scrape: Scrape, at: float, expiry_s: float = EXPIRY_S) -> Advance:
    """Compares a scrape made at `at` with what is remembered."""
    if last.at is None or at - last.at > expiry_s:
        return _baseline(last, scrape, at)
    step = _Step(last, at, expiry_s)
    for reading in scrape.readings:
        step.compare(reading)
    for series in scrape.unusable:
        step.keep_unreadable(series)
    evictions = step.settle_absent(scrape)
    return Advance(
        deltas=tuple(step.deltas),
        last=LastValues(at, scrape.illegible_lines, step.series),
        changed=step.changed,
        forgotten=frozenset(last.series.keys() - step.series.keys()),
        baseline=False,
        resets=step.resets,
        evictions=evictions,
    )


def _baseline(last: LastValues, scrape: Scrape, at: float) -> Advance:
    series: dict[Series, Last] = dict.fromkeys(scrape.unusable, UNKNOWN)
    series.update((reading.series, _remember(reading, None)) for reading in scrape.readings)
    return Advance(
        deltas=(),
        last=LastValues(at, scrape.illegible_lines, series),
        changed=series,
        forgotten=frozenset(last.series.keys() - series.keys()),
        baseline=True,
        resets=0,
        evictions=0,
    )


class _Step:
    def __init__(self, last: LastValues, at: float, expiry_s: float) -> None:
        self.deltas: list[Delta] = []
        self.series: dict[Series, Last] = {}
        self.changed: dict[Series, Last] = {}
        self.resets = 0
        self._last = last
        self._at = at
        self._expiry_s = expiry_s

    def compare(self, reading: Reading) -> None:
        last = self._last.series.get(reading.series)
        self._put(reading.series, _remember(reading, last))
        if last is None:
            if self._last.illegible_lines == 0:
                self._emit(_whole(reading))
            return
        delta = _growth(reading, last)
        if delta is None:
            self.resets += 1
            self._emit(_whole(reading))
        elif not self._is_back_from_long_absence(last):
            self._emit(delta)

    def keep_unreadable(self, series: Series) -> None:
        self._put(series, self._last.series.get(series, UNKNOWN))

    def settle_absent(self, scrape: Scrape) -> int:
        """Decides about every series that this scrape does not show; returns the evictions."""
        evictions = 0
        present = {series.target for series in self.series}
        for series, last in self._last.series.items():
            if series in self.series:
                continue
            if scrape.illegible_lines:
                self._put(series, last)
            elif series.target in present:
                evictions += 1
            elif last.absent_since is None:
                self._put(series, replace(last, absent_since=self._at))
            elif self._at - last.absent_since <= RETENTION_S:
                self._put(series, last)
        self._forget_surplus()
        return evictions

    def _put(self, series: Series, last: Last) -> None:
        self.series[series] = last
        if self._last.series.get(series) != last:
            self.changed[series] = last

    def _emit(self, delta: Delta) -> None:
        if delta.value if isinstance(delta, CounterDelta) else delta.counts[-1]:
            self.deltas.append(delta)

    def _is_back_from_long_absence(self, last: Last) -> bool:
        return last.absent_since is not None and self._at - last.absent_since > self._expiry_s

    def _forget_surplus(self) -> None:
        surplus = len(self.series) - SERIES_MAX
        if surplus <= 0:
            return
        absent = [
            (last.absent_since, series)
            for series, last in self.series.items()
            if last.absent_since is not None
        ]
        for _, series in sorted(absent)[:surplus]:
            del self.series[series]
            self.changed.pop(series, None)


def _remember(reading: Reading, last: Last | None) -> Last:
    if isinstance(reading, CounterReading):
        return CounterLast(reading.value)
    latency_sum = reading.sum
    if latency_sum is None and isinstance(last, HistogramLast):
        latency_sum = last.sum  # its growth is made up for when it is readable again
    return HistogramLast(reading.bounds, reading.counts, latency_sum)


def _whole(reading: Reading) -> Delta:
    if isinstance(reading, CounterReading):
        return CounterDelta(reading.subject, reading.value)
    return HistogramDelta(reading.subject, reading.bounds, reading.counts, reading.sum or 0.0)


def _growth(reading: Reading, last: Last) -> Delta | None:
    """The growth since `last`, or None where the series started again."""
    if isinstance(reading, CounterReading):
        if not isinstance(last, CounterLast):
            return None
        if last.value is None:
            return CounterDelta(reading.subject, 0)
        growth = reading.value - last.value
        return CounterDelta(reading.subject, growth) if growth >= 0 else None
    if isinstance(last, HistogramLast):
        return _histogram_growth(reading, last)
    return HistogramDelta(reading.subject, (math.inf,), (0,), 0.0)


def _histogram_growth(reading: HistogramReading, last: HistogramLast) -> HistogramDelta | None:
    bounds, counts, before = reading.bounds, reading.counts, last.counts
    if bounds != last.bounds:
        now_by_bound = dict(zip(bounds, counts, strict=True))
        before_by_bound = dict(zip(last.bounds, before, strict=True))
        bounds = tuple(bound for bound in bounds if bound in before_by_bound)
        counts = tuple(now_by_bound[bound] for bound in bounds)
        before = tuple(before_by_bound[bound] for bound in bounds)
    growth = tuple(map(int.__sub__, counts, before))
    if growth[0] < 0 or any(above < below for below, above in pairwise(growth)):
        return None
    latency_sum = 0.0
    if reading.sum is not None and last.sum is not None:
        latency_sum = max(0.0, reading.sum - last.sum)
    return HistogramDelta(reading.subject, bounds, growth, latency_sum)
