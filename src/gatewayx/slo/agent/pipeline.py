"""The stages in a row: one scraped text and what is remembered in, figures and new memory out.

Touches nothing but its arguments.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from gatewayx.slo.agent.aggregate import Aggregates, aggregate
from gatewayx.slo.agent.delta import EXPIRY_S, Advance, LastValues, advance
from gatewayx.slo.agent.filter import drop_excluded
from gatewayx.slo.agent.normalise import METRICS, normalise
from gatewayx.slo.agent.parse import parse


class UnusableText(Exception):
    """A text that must not become deltas. The next one will cover its interval too."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """``truncated`` or ``empty``: a label value of the agent's own metrics."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What one scrape says about the time since the one before."""

    aggregates: Aggregates
    overflow: str | None
    """Why the figures are left out: they passed a snapshot's limits. The memory moves on, or every
    later interval would hold them too."""
    advance: Advance
    sample_lines: int
    bad_lines: int
    skipped: Mapping[str, int]


def measure(
    text: bytes,
    last: LastValues,
    at: float,
    *,
    excluded_namespaces: Collection[str],
    expiry_s: float = EXPIRY_S,
) -> Interval:
    """Turns the text of a scrape made at `at` (seconds since the epoch) into an interval.

    Raises:
        UnusableText: it breaks off, or holds no sample at all: the collector has gathered nothing
            yet, and a baseline of nothing would make all that it has later look new.
    """
    parsed = parse(text, METRICS)
    if parsed.truncated:
        raise UnusableText("truncated")
    if parsed.sample_lines == 0:
        raise UnusableText("empty")
    normalised = normalise(drop_excluded(parsed, frozenset(excluded_namespaces)))
    step = advance(last, normalised.scrape, at, expiry_s)
    overflow = None
    try:
        aggregates = aggregate(step.deltas)
    except ValidationError as error:
        aggregates, overflow = Aggregates(), str(error)
    return Interval(
        aggregates=aggregates,
        overflow=overflow,
        advance=step,
        sample_lines=parsed.sample_lines,
        bad_lines=parsed.bad_lines,
        skipped=normalised.skipped,
    )
