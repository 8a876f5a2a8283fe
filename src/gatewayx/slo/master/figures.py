"""What happened to a service, an ingress key or an edge in a range: sums, and ratios of sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection

from gatewayx.slo.master.histogram import NO_QUANTILE, Quantile, quantile
from gatewayx.slo.master.names import BoundSet, Names
from gatewayx.slo.master.tables import STATUS_CLASSES

TargetType = Literal["service", "ingress"]


@dataclass(slots=True)
class Figures:
    """What happened to one service or ingress key in a range."""

    total: int = 0
    errors: int = 0
    classes: list[int] = field(default_factory=lambda: [0] * len(STATUS_CLASSES))
    latency_sum: float = 0.0
    latency_count: int = 0
    # bounds_id -> cumulative counts; one entry unless the bounds changed in the range.
    histograms: dict[int, list[int]] = field(default_factory=dict)
    sample_count: int = 0
    # mesh services
    tls_requests: int = 0
    tls_total: int = 0
    # ingress: method -> [count, errors]
    methods: dict[str, list[int]] = field(default_factory=dict)

    def add(self, other: Figures) -> None:
        """Add the events of another range or row."""
        self.total += other.total
        self.errors += other.errors
        self.classes = [a + b for a, b in zip(self.classes, other.classes, strict=True)]
        self.latency_sum += other.latency_sum
        self.latency_count += other.latency_count
        self.sample_count += other.sample_count
        self.tls_requests += other.tls_requests
        self.tls_total += other.tls_total
        for bounds_id, counts in other.histograms.items():
            self.add_histogram(bounds_id, counts)
        for method, (count, errors) in other.methods.items():
            mine = self.methods.setdefault(method, [0, 0])
            mine[0] += count
            mine[1] += errors

    def add_histogram(self, bounds_id: int, cumulative: Sequence[int]) -> None:
        """Add a histogram to the one of the same bounds."""
        mine = self.histograms.get(bounds_id)
        self.histograms[bounds_id] = (
            list(cumulative)
            if mine is None
            else [a + b for a, b in zip(mine, cumulative, strict=True)]
        )

    @property
    def availability(self) -> float | None:
        """Percent of requests without an error; None without requests."""
        return 100.0 * (self.total - self.errors) / self.total if self.total else None

    @property
    def error_rate(self) -> float | None:
        """Percent of requests with an error; None without requests."""
        return 100.0 * self.errors / self.total if self.total else None

    @property
    def avg_ms(self) -> float | None:
        """Mean latency; None without observations."""
        return self.latency_sum / self.latency_count if self.latency_count else None

    @property
    def mtls_percent(self) -> float | None:
        """Percent of requests under mutual TLS; None without requests."""
        return 100.0 * self.tls_requests / self.tls_total if self.tls_total else None

    def main_histogram(self) -> tuple[int, list[int]] | None:
        """The histogram with the most observations; only equal bounds are ever merged."""
        if not self.histograms:
            return None
        return max(self.histograms.items(), key=lambda item: (item[1][-1], item[0]))

    def quantiles(self, names: Names, conn: Connection, *qs: float) -> list[Quantile]:
        """Latency quantiles of the main histogram."""
        main = self.main_histogram()
        if main is None:
            return [NO_QUANTILE] * len(qs)
        bounds: BoundSet = names.bound_set(conn, main[0])
        return [quantile(q, bounds.bounds_ms, main[1]) for q in qs]


@dataclass(slots=True)
class EdgeFigures:
    """What one service asked of another in a range."""

    requests: int = 0
    failures: int = 0
    latency_sum: float = 0.0
    latency_count: int = 0
    sample_count: int = 0

    def add(self, other: EdgeFigures) -> None:
        """Add the events of another range or row."""
        self.requests += other.requests
        self.failures += other.failures
        self.latency_sum += other.latency_sum
        self.latency_count += other.latency_count
        self.sample_count += other.sample_count

    @property
    def error_rate(self) -> float | None:
        """Percent of requests that failed; None without requests."""
        return 100.0 * self.failures / self.requests if self.requests else None

    @property
    def avg_ms(self) -> float | None:
        """Mean latency; None without observations."""
        return self.latency_sum / self.latency_count if self.latency_count else None
