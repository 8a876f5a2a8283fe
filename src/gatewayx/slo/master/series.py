"""Histories: the figures of one key step by step over a range.

Steps are a minute for an hour, and grow with the range so that a chart has 60 to 170 points. A step
is read from the coarsest rows that divide it; steps begin on whole multiples of their length, and
steps without data are left out rather than drawn as zero.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sqlalchemy import select

from gatewayx.slo.master import tables
from gatewayx.slo.master.answers import Answer, history_point
from gatewayx.slo.master.figures import Figures, TargetType
from gatewayx.slo.master.plan import Plan, plan_range, span_start_s, union_ms
from gatewayx.slo.master.reading import Reading, iso
from gatewayx.slo.master.tables import DAY_S, FIVE_MINUTES_S, HOUR_S

# (range up to, step); the last one is for everything longer.
STEPS_S: Final = (
    (HOUR_S, 60),
    (6 * HOUR_S, FIVE_MINUTES_S),
    (DAY_S + HOUR_S, 1800),
    (8 * DAY_S, HOUR_S),
)
LONGEST_STEP_S: Final = 6 * HOUR_S


def step_s(length_s: float) -> int:
    """The step of a range's history."""
    return next((step for limit, step in STEPS_S if length_s <= limit), LONGEST_STEP_S)


def history(reading: Reading, target_type: TargetType, identity: int) -> list[Answer]:
    """Points of one service or ingress key, in order of time."""
    step, plan = _stepped_plan(reading)
    sums: dict[int, Figures] = defaultdict(Figures)
    by_start, by_snapshot = reading.reader.by_time(reading.conn, plan, target_type, identity)
    ends = _snapshot_times(reading, plan)
    for (span_s, start_s), figures in by_start.items():
        sums[_step_start_s((start_s + span_s) * 1000, step)].add(figures)
    for snapshot_id, figures in by_snapshot.items():
        sums[_step_start_s(ends[snapshot_id][1], step)].add(figures)
    covered = _covered_ms(reading, plan, ends.values(), step)
    points = []
    for start_s, figures in sorted(sums.items()):
        p95 = figures.quantiles(reading.names, reading.conn, 0.95)[0].value_ms
        step_plan = replace(plan, covered_ms=covered.get(start_s, 0))
        points.append(history_point(iso(start_s * 1000), step_plan, figures, p95))
    return points


def _stepped_plan(reading: Reading) -> tuple[int, Plan]:
    time_range = reading.time_range
    step = step_s(time_range.length_s)
    fine_kept = time_range.from_ms >= reading.now_ms - reading.settings.retention.fine_s * 1000
    if not fine_kept:
        step = max(step, HOUR_S)
    spans = tuple(span for span in (HOUR_S, FIVE_MINUTES_S) if step % span == 0 and span <= step)
    if not fine_kept:
        spans = (HOUR_S,)
    plan = plan_range(reading.conn, reading.cluster.cluster_id, time_range, spans)
    return step, plan


def _step_start_s(end_ms: int, step: int) -> int:
    return span_start_s(end_ms, step)


def _snapshot_times(reading: Reading, plan: Plan) -> dict[int, tuple[int, int]]:
    c = tables.snapshots.c
    times: dict[int, tuple[int, int]] = {}
    for chunk in plan.raw_id_chunks():
        rows = reading.conn.execute(select(c.id, c.start_ms, c.end_ms).where(c.id.in_(chunk)))
        times.update((row[0], (row[1], row[2])) for row in rows)
    return times


def _covered_ms(
    reading: Reading, plan: Plan, raw: Iterable[tuple[int, int]], step: int
) -> dict[int, int]:
    covered: dict[int, int] = defaultdict(int)
    c = tables.coverage.c
    for segment in plan.segments:
        rows = reading.conn.execute(
            select(c.start_s, c.covered_ms).where(
                c.cluster_id == plan.cluster_id,
                c.span_s == segment.span_s,
                c.start_s >= segment.from_s,
                c.start_s < segment.to_s,
            )
        )
        for start_s, covered_ms in rows:
            covered[_step_start_s((start_s + segment.span_s) * 1000, step)] += covered_ms
    intervals: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for interval in raw:
        intervals[_step_start_s(interval[1], step)].append(interval)
    for start_s, found in intervals.items():
        covered[start_s] += union_ms(found)
    return covered
