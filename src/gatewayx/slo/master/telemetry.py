"""The master's own metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class MasterMetrics:
    """Counters of one master, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.snapshots = Counter(
            "slo_master_snapshots",
            "Snapshots posted, by what became of them.",
            ["result"],
            registry=self.registry,
        )
        self.ingest_seconds = Histogram(
            "slo_master_ingest_seconds",
            "Time from a snapshot's last byte to its acknowledgement.",
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=self.registry,
        )
        self.task_seconds = Gauge(
            "slo_master_task_seconds",
            "Duration of the last run of a background task.",
            ["task"],
            registry=self.registry,
        )
        self.task_failures = Counter(
            "slo_master_task_failures",
            "Runs of a background task that ended in an exception.",
            ["task"],
            registry=self.registry,
        )

    def exposition(self) -> bytes:
        """Prometheus's text format."""
        return generate_latest(self.registry)
