"""Burn rates over two windows at once (SRE workbook, chapter 5).

The long window says that enough budget went to matter, the short one that it is still going. Both
must burn at least `factor` times faster than the budget allows, and the long one must hold enough
events for a ratio to mean something.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatewayx.slo.master.budgets import (
    TARGET_TYPES,
    Totals,
    burn_rate,
    targets_in_force,
    totals_by_key,
)
from gatewayx.slo.master.plan import range_before
from gatewayx.slo.master.reading import Reading
from gatewayx.slo.master.settings import BurnRule
from gatewayx.slo.master.targets import Target

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def duration_name(seconds: int) -> str:
    """A duration as Prometheus writes it: 1h, 5m, 3d. A day is `24h` only to computers."""
    for unit, length in _UNITS:
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    raise AssertionError("every whole number is a number of seconds")


def rule_name(rule: BurnRule) -> str:
    """`page_1h_5m`: names a rule in rows, labels and links."""
    return f"{rule.severity}_{duration_name(rule.long_s)}_{duration_name(rule.short_s)}"


@dataclass(frozen=True, slots=True)
class Burn:
    """One target under one rule at one instant."""

    target: Target
    rule: BurnRule
    events: int
    """Requests in the long window."""
    burn_long: float
    burn_short: float

    @property
    def sufficient(self) -> bool:
        """Whether there were events enough for a verdict."""
        return self.events >= self.target.events_min

    @property
    def exceeded(self) -> bool:
        """Whether both windows burn faster than the rule allows."""
        factor = self.rule.factor
        return self.sufficient and self.burn_long > factor and self.burn_short > factor


def evaluate(reading: Reading, rules: Iterable[BurnRule]) -> list[Burn]:
    """Every target under every rule, now."""
    rules = tuple(rules)
    windows_s = sorted({length for rule in rules for length in (rule.long_s, rule.short_s)})
    plans = {length: reading.over(range_before(reading.now_ms, length)) for length in windows_s}
    burns: list[Burn] = []
    for target_type in TARGET_TYPES:
        totals: dict[int, dict[str, Totals]] = {
            length: totals_by_key(reading, plan, target_type) for length, plan in plans.items()
        }
        keys = {key for found in totals.values() for key in found}
        for key, target in sorted(targets_in_force(reading, target_type, keys).items()):
            for rule in rules:
                over_long = totals[rule.long_s].get(key, (0, 0))
                over_short = totals[rule.short_s].get(key, (0, 0))
                burns.append(
                    Burn(
                        target=target,
                        rule=rule,
                        events=over_long[0],
                        burn_long=burn_rate(target, over_long) or 0.0,
                        burn_short=burn_rate(target, over_short) or 0.0,
                    )
                )
    return burns
