"""How long to wait after the n-th failure in a row.

Full jitter: uniform between the floor and a ceiling that doubles, so that agents which lost the
same master do not come back together. The random source is an argument.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_DOUBLINGS_MAX = 32


@dataclass(slots=True)
class Backoff:
    """Waits that grow with every failure and start over after a success."""

    floor_s: float
    ceiling_s: float
    source: random.Random
    failures: int = 0

    def succeed(self) -> None:
        """Starts over."""
        self.failures = 0

    def fail(self) -> float:
        """Counts a failure and returns how many seconds to wait."""
        ceiling = min(self.ceiling_s, self.floor_s * 2.0 ** min(self.failures + 1, _DOUBLINGS_MAX))
        self.failures += 1
        return self.source.uniform(self.floor_s, max(self.floor_s, ceiling))
