"""Error budgets: what a target allows, what is spent, and how long the rest will last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gatewayx.slo.master.faults import FaultWindowSource, fault_costs
from gatewayx.slo.master.figures import TargetType
from gatewayx.slo.master.plan import Plan, range_before
from gatewayx.slo.master.reading import Reading
from gatewayx.slo.master.tables import HOUR_S
from gatewayx.slo.master.targets import Target

TARGET_TYPES: tuple[TargetType, ...] = ("service", "ingress")

Totals = tuple[int, int]


def burn_rate(target: Target, totals: Totals) -> float | None:
    """How many times faster than allowed errors happen; None without requests."""
    total, errors = totals
    return errors / total / target.error_ratio_max if total else None


def budget_answer(target: Target, totals: Totals, last_hour: Totals) -> dict[str, object]:
    """One target's budget as the API gives it.

    The budget is the errors allowed among the requests of the window. At burn rate 1 it lasts
    exactly one window, which gives the time to exhaustion.
    """
    total, errors = totals
    allowed = total * target.error_ratio_max
    burning = burn_rate(target, last_hour)
    enough = total >= target.events_min
    left = 1.0 - errors / allowed if allowed else None
    exhaustion_s: float | None = None
    if enough and left is not None and burning:
        exhaustion_s = max(left, 0.0) * target.window_s / burning
    return {
        "target_type": target.target_type,
        "target": target.target_key,
        "is_default": target.is_default,
        "availability_target_percent": target.availability_percent,
        "p95_target_ms": target.p95_ms,
        "window_days": target.window_days,
        "events_min": target.events_min,
        "state": "ok" if enough else "insufficient_data",
        "total_requests": total,
        "errors": errors,
        "availability": 100.0 * (total - errors) / total if total else None,
        "allowed_errors": allowed,
        "budget_left_percent": 100.0 * left if enough and left is not None else None,
        "burn_rate_1h": burning if enough else None,
        "seconds_to_exhaustion": exhaustion_s,
    }


def budgets(
    reading: Reading,
    source: FaultWindowSource,
    only: tuple[TargetType, str] | None = None,
) -> list[dict[str, object]]:
    """The budget of every target that saw traffic or was set by hand, the worst first."""
    costs = _costs_by_target(reading, source, only)
    hour = reading.over(range_before(reading.now_ms, HOUR_S))
    answers = []
    for target_type in TARGET_TYPES:
        if only is not None and only[0] != target_type:
            continue
        totals, hourly = window_totals(reading, target_type, only, hour)
        for key, target in sorted(targets_in_force(reading, target_type, totals, only).items()):
            answer = budget_answer(target, totals.get(key, (0, 0)), hourly.get(key, (0, 0)))
            answers.append(answer | {"faults": costs.get((target_type, key), [])})
    return sorted(answers, key=_worst_first)


def targets_in_force(
    reading: Reading,
    target_type: TargetType,
    keys: Iterable[str],
    only: tuple[TargetType, str] | None = None,
) -> dict[str, Target]:
    """The targets of keys, and those set by hand for keys that nobody reports yet."""
    wanted = {*keys, *(key for kind, key in reading.targets.own if kind == target_type)}
    if only is not None:
        wanted = {only[1]}
    return {key: reading.targets.find(target_type, key) for key in wanted}


def window_totals(
    reading: Reading,
    target_type: TargetType,
    only: tuple[TargetType, str] | None,
    hour: Plan,
) -> tuple[dict[str, Totals], dict[str, Totals]]:
    """Totals by key over each target's own window, and over the last hour."""
    ids = list(reading.ids_of(target_type, [only[1]])) if only else None
    if ids == []:
        return {}, {}
    windows_s = {
        reading.settings.target.window_days * 86400,
        *(target.window_s for target in reading.targets.own.values()),
    }
    totals: dict[str, Totals] = {}
    for window_s in sorted(windows_s):
        window = range_before(reading.now_ms, window_s)
        aligned = window.aligned(reading.now_ms, reading.settings.retention.fine_s)
        found = totals_by_key(reading, reading.over(aligned), target_type, ids)
        for key, sums in found.items():
            if reading.targets.find(target_type, key).window_s == window_s:
                totals[key] = sums
    return totals, totals_by_key(reading, hour, target_type, ids)


def totals_by_key(
    reading: Reading, plan: Plan, target_type: TargetType, ids: list[int] | None = None
) -> dict[str, Totals]:
    """(requests, errors) by target key."""
    found = reading.reader.totals(reading.conn, plan, target_type, ids)
    return {reading.key_of(target_type, identity): sums for identity, sums in found.items()}


def _costs_by_target(
    reading: Reading, source: FaultWindowSource, only: tuple[TargetType, str] | None
) -> dict[tuple[object, object], list[dict[str, object]]]:
    longest_s = max(
        reading.settings.target.window_days * 86400,
        *(target.window_s for target in reading.targets.own.values()),
        0,
    )
    window = range_before(reading.now_ms, longest_s)
    costs: dict[tuple[object, object], list[dict[str, object]]] = defaultdict(list)
    for cost in fault_costs(reading, source, time_range=window, only=only):
        costs[cost["target_type"], cost["target"]].append(cost)
    return costs


def _worst_first(answer: dict[str, object]) -> tuple[bool, float]:
    left = answer["budget_left_percent"]
    return (left is None, left if isinstance(left, float) else 0.0)
