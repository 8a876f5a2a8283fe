"""The agent's own metrics: what it scraped, what it left out, what waits for the master."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class AgentMetrics:
    """One registry an agent; two agents in one process do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # scrape
        self.scrapes = self._counter("scrapes", "Scrapes, by result.", "result")
        self.scrape_duration = Histogram(
            "slo_agent_scrape_duration_seconds",
            "From the request to the committed snapshot.",
            registry=self.registry,
        )
        self.lines = self._counter("lines", "Sample lines read.")
        self.bad_lines = self._counter("bad_lines", "Sample lines that could not be read whole.")
        self.skipped = self._counter("series_skipped", "Series without a reading.", "reason")
        self.series = self._gauge("series", "Series remembered.")
        self.last_scrape = self._gauge(
            "last_scrape_timestamp_seconds", "When the last good scrape was made."
        )
        # delta
        self.baselines = self._counter("baselines", "Scrapes that only set a baseline.")
        self.resets = self._counter("resets", "Series that started again.")
        self.evictions = self._counter("evictions", "Series that an exporter evicted.")
        # snapshots
        self.snapshots = self._counter("snapshots", "Snapshots made.")
        self.overflows = self._counter(
            "snapshot_overflows", "Snapshots left empty because they passed a limit."
        )
        self.sends = self._counter("sends", "Attempts to send a snapshot, by verdict.", "verdict")
        self.dropped = self._counter(
            "snapshots_dropped", "Snapshots dropped unsent because the buffer was full."
        )
        self.buffered_snapshots = self._gauge("buffer_snapshots", "Snapshots that wait.")
        self.buffered_bytes = self._gauge("buffer_bytes", "Their size on disk.")
        self.master_up = self._gauge("master_up", "1 if the master answered the last attempt.")
        self.collector_up = self._gauge("collector_up", "1 if the last scrape was good.")
        self.journal_errors = self._counter("journal_errors", "Commits that the disk refused.")
        # routes
        self.routes = self._gauge("routes", "Routes known.")
        self.route_refreshes = self._counter("route_refreshes", "Refreshes, by result.", "result")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"slo_agent_{name}_total", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"slo_agent_{name}", text, registry=self.registry)
