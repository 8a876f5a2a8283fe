"""Chaos meets SLO: which fault policies were active, and what share of the budget each one cost.

The control plane opens a window when a policy begins to act on a target and closes it when it ends.
The cost of a window is the errors of its target while it was open, over the errors that the target
allows in its budget window. Where windows of one target overlap, the errors of the overlap are
shared equally, so that costs add up to no more than what was lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from sqlalchemy import Connection, and_, or_, select, update

from gatewayx.slo.master import tables
from gatewayx.slo.master.figures import TargetType
from gatewayx.slo.master.plan import TimeRange, range_before
from gatewayx.slo.master.reading import Reading, iso

# Windows of one answer, newest first: what an answer costs must not grow with the history.
WINDOWS_MAX = 200


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A policy acting on a target from `start_ms` until `end_ms` (None: still)."""

    policy: str
    kind: str
    target_type: TargetType
    target_key: str
    start_ms: int
    end_ms: int | None

    def within(self, time_range: TimeRange) -> tuple[int, int]:
        """The part of the window inside a range."""
        end_ms = time_range.to_ms if self.end_ms is None else min(self.end_ms, time_range.to_ms)
        return max(self.start_ms, time_range.from_ms), end_ms


class FaultWindowSource(Protocol):
    """Where fault windows come from."""

    def windows(
        self, conn: Connection, cluster_id: int, time_range: TimeRange
    ) -> Sequence[FaultWindow]:
        """The windows that were open at some time of the range, newest first."""
        ...


class StoredFaultWindows:
    """Fault windows in `slo_fault_windows`, which the control plane writes."""

    def windows(
        self, conn: Connection, cluster_id: int, time_range: TimeRange
    ) -> Sequence[FaultWindow]:
        """The windows that were open at some time of the range, newest first."""
        c = tables.fault_windows.c
        rows = conn.execute(
            select(c.policy, c.kind, c.target_type, c.target_key, c.start_ms, c.end_ms)
            .where(
                c.cluster_id == cluster_id,
                c.start_ms < time_range.to_ms,
                or_(c.end_ms.is_(None), c.end_ms > time_range.from_ms),
            )
            .order_by(c.start_ms.desc(), c.id.desc())
            .limit(WINDOWS_MAX)
        )
        return [FaultWindow(*row) for row in rows]


def open_window(conn: Connection, cluster_id: int, window: FaultWindow) -> int:
    """Record that a policy begins to act; returns the window's id."""
    statement = tables.fault_windows.insert().values(
        cluster_id=cluster_id,
        policy=window.policy,
        kind=window.kind,
        target_type=window.target_type,
        target_key=window.target_key,
        start_ms=window.start_ms,
        end_ms=window.end_ms,
    )
    return int(conn.execute(statement.returning(tables.fault_windows.c.id)).scalar_one())


def close_windows(conn: Connection, cluster_id: int, policy: str, end_ms: int) -> int:
    """Record that a policy has ended; returns how many windows were open."""
    c = tables.fault_windows.c
    return conn.execute(
        update(tables.fault_windows)
        .where(and_(c.cluster_id == cluster_id, c.policy == policy, c.end_ms.is_(None)))
        .values(end_ms=end_ms)
    ).rowcount


def fault_costs(
    reading: Reading,
    source: FaultWindowSource,
    *,
    time_range: TimeRange | None = None,
    only: tuple[TargetType, str] | None = None,
) -> list[dict[str, object]]:
    """The windows of a range and what each one cost, as answers carry them."""
    time_range = time_range or reading.time_range
    windows = [
        window
        for window in source.windows(reading.conn, reading.cluster.cluster_id, time_range)
        if only is None or (window.target_type, window.target_key) == only
    ]
    errors, estimated = _errors_by_window(reading, windows, time_range)
    allowed = _allowed_errors(reading, windows)
    answers: list[dict[str, object]] = []
    for place, window in enumerate(windows):
        budget = allowed.get((window.target_type, window.target_key), 0.0)
        share = 100.0 * errors[place] / budget if budget else None
        answers.append(
            {
                "policy": window.policy,
                "kind": window.kind,
                "target_type": window.target_type,
                "target": window.target_key,
                "start": iso(window.start_ms),
                "end": iso(window.end_ms),
                "errors": errors[place],
                "budget_share_percent": share,
                "estimated": place in estimated,
            }
        )
    return answers


def _errors_by_window(
    reading: Reading, windows: Sequence[FaultWindow], time_range: TimeRange
) -> tuple[dict[int, float], set[int]]:
    """Errors of each window by its place, and the places that rest on whole hours."""
    errors: dict[int, float] = defaultdict(float)
    estimated: set[int] = set()
    by_target: dict[tuple[TargetType, str], list[int]] = defaultdict(list)
    for place, window in enumerate(windows):
        by_target[window.target_type, window.target_key].append(place)
    for (target_type, target_key), places in by_target.items():
        identity = reading.id_of(target_type, target_key)
        if identity is None:
            continue
        spans = {place: windows[place].within(time_range) for place in places}
        for start_ms, end_ms in _slices(spans.values()):
            active = [
                place for place, (begin, end) in spans.items() if begin <= start_ms < end_ms <= end
            ]
            if not active:
                continue
            plan = reading.over(TimeRange(start_ms, end_ms))
            found = reading.reader.totals(reading.conn, plan, target_type, [identity])
            slice_errors = float(found.get(identity, (0, 0))[1])
            read_ms = plan.time_range.to_ms - plan.time_range.from_ms
            if read_ms != end_ms - start_ms:
                # Only hours are kept of that age: the part is taken for its share of the hour.
                slice_errors *= (end_ms - start_ms) / read_ms
                estimated.update(active)
            for place in active:
                errors[place] += slice_errors / len(active)
    return errors, estimated


def _slices(spans: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """The pieces between neighbouring ends of spans."""
    ends = sorted({end for span in spans for end in span})
    return pairwise(ends)


def _allowed_errors(
    reading: Reading, windows: Sequence[FaultWindow]
) -> dict[tuple[TargetType, str], float]:
    """The errors that the budgets of the windows' targets allow, by target."""
    allowed: dict[tuple[TargetType, str], float] = {}
    for target_type, target_key in {(window.target_type, window.target_key) for window in windows}:
        identity = reading.id_of(target_type, target_key)
        if identity is None:
            continue
        target = reading.targets.find(target_type, target_key)
        budget_range = range_before(reading.now_ms, target.window_s)
        plan = reading.over(budget_range.aligned(reading.now_ms, reading.settings.retention.fine_s))
        totals = reading.reader.totals(reading.conn, plan, target_type, [identity])
        allowed[target_type, target_key] = totals.get(identity, (0, 0))[0] * target.error_ratio_max
    return allowed
