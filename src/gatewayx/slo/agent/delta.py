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
invariant where a line is illegible, no absence is believed in that scrape, and for the time of an
expiry a series first seen only gets a baseline. A baseline after a gap forgets no series whose
target is out of sight: it may come back, and what it counted before the gap was reported then.
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
    illegible_at: float | None = None
    """Time of the last scrape with an illegible line."""
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
    step = _Step(last, at, expiry_s)
    for reading in scrape.readings:
        step.compare(reading)
    for series in scrape.unusable:
        step.keep_unreadable(series)
    step.settle_absent(scrape)
    return Advance(
        deltas=tuple(step.deltas),
        last=LastValues(at, at if scrape.illegible_lines else last.illegible_at, step.series),
        changed=step.changed,
        forgotten=frozenset(last.series.keys() - step.series.keys()),
        baseline=step.baseline,
        resets=step.resets,
        evictions=step.evictions,
    )


class _Step:
    def __init__(self, last: LastValues, at: float, expiry_s: float) -> None:
        self.deltas: list[Delta] = []
        self.series: dict[Series, Last] = {}
        self.changed: dict[Series, Last] = {}
        self.resets = 0
        self.evictions = 0
        self.baseline = last.at is None or at - last.at > expiry_s
        self._last = last
        self._at = at
        self._expiry_s = expiry_s
        self._doubtful = last.illegible_at is not None and at - last.illegible_at <= expiry_s

    def compare(self, reading: Reading) -> None:
        last = self._last.series.get(reading.series)
        self._put(reading.series, _remember(reading, last))
        if self.baseline:
            return
        if last is None:
            if not self._doubtful:
                self._emit(_whole(reading))
            return
        delta = _growth(reading, last)
        if delta is None:
            self.resets += 1
            self._emit(_whole(reading))
        elif not self._is_back_from_long_absence(last):
            self._emit(delta)

    def keep_unreadable(self, series: Series) -> None:
        last = self._last.series.get(series)
        if self.baseline or (last is None and self._doubtful):
            self._put(series, UNKNOWN)
        elif last is not None:
            self._put(series, last)
        # Else it is new, and stays so: its whole value counts once that can be read.

    def settle_absent(self, scrape: Scrape) -> None:
        """Decides about every series that this scrape does not show."""
        present = {series.target for series in self.series}
        present.update(series.target for series in scrape.unusable)
        absent_since = self._last.at if self.baseline else self._at
        for series, last in self._last.series.items():
            if series in self.series:
                continue
            if not scrape.illegible_lines and series.target in present:
                self.evictions += 1
            elif last.absent_since is None and (self.baseline or not scrape.illegible_lines):
                self._put(series, replace(last, absent_since=absent_since))
            elif last.absent_since is None or self._at - last.absent_since <= RETENTION_S:
                self._put(series, last)
        self._forget_surplus()

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
