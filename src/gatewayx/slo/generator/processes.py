"""The processes that count: sidecar proxies, ingress controllers, the gateway.

Each keeps its own counters from zero, as real ones do. It may restart (all counters gone), evict an
idle series (that one starts from zero when it comes back), or be out of the collector's reach (its
counters go on unseen). Every life of a series has its own number, so that a test can tell a counter
that went on from one that started again.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from gatewayx.slo.generator.calls import Calls, Controller, Entry, Workload

LINKERD_BOUNDS_MS = (
    *(1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500),
    *(1000, 2000, 3000, 4000, 5000, 10000, 20000, 30000, 40000, 50000),
)  # fmt: skip
TRAEFIK_BOUNDS_S = (0.1, 0.3, 1.2, 5)
NGINX_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
GATEWAY_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

LabelPairs = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class CounterCell:
    """One counter and the number of its life."""

    life: int
    value: int = 0


@dataclass(slots=True)
class HistogramCell:
    """One histogram: counts by bucket, not cumulative; the last bucket is infinity's."""

    life: int
    bounds: Sequence[float]
    counts: list[int]
    sum: float = 0.0

    def observe(self, values: Iterable[float]) -> None:
        """Counts every value in its bucket."""
        for value in values:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value

    def cumulative(self) -> list[int]:
        """Counts at or below each bound, infinity last."""
        return list(itertools.accumulate(self.counts))


@dataclass(slots=True)
class Process:
    """One counting process and all that it has counted in this life."""

    labels: LabelPairs
    """Of the process itself; every series carries them."""
    lives: Iterator[int]
    counters: dict[tuple[str, LabelPairs], CounterCell] = field(default_factory=dict)
    histograms: dict[tuple[str, LabelPairs], HistogramCell] = field(default_factory=dict)
    reachable: bool = True

    def count(self, metric: str, labels: LabelPairs, number: int) -> None:
        """Adds `number` to a counter."""
        cell = self.counters.get((metric, labels))
        if cell is None:
            cell = self.counters[metric, labels] = CounterCell(next(self.lives))
        cell.value += number

    def observe(
        self, metric: str, labels: LabelPairs, bounds: Sequence[float], values: Iterable[float]
    ) -> None:
        """Adds values, in the metric's own unit, to a histogram."""
        cell = self.histograms.get((metric, labels))
        if cell is None:
            cell = HistogramCell(next(self.lives), bounds, [0] * (len(bounds) + 1))
            self.histograms[metric, labels] = cell
        cell.observe(values)

    def restart(self) -> None:
        """Forgets everything, as a new process of the same name."""
        self.counters.clear()
        self.histograms.clear()

    def evict(self, index: int) -> None:
        """Forgets one series, chosen by `index` modulo their number."""
        cells: list[dict[tuple[str, LabelPairs], CounterCell | HistogramCell]]
        cells = [self.counters, self.histograms]  # type: ignore[list-item]
        keys = [(kind, key) for kind in cells for key in kind]
        if keys:
            kind, key = keys[index % len(keys)]
            del kind[key]


class Cluster:
    """Every counting process of a cluster, and which of them counts a call."""

    def __init__(self) -> None:
        self._lives = itertools.count(1)
        self._names = itertools.count(1)
        self._turns = itertools.count()
        self.pods: dict[Workload, list[Process]] = {}
        self.controllers: dict[Controller, Process] = {}

    def processes(self) -> Iterator[Process]:
        """All that exist now, reachable or not."""
        for pods in self.pods.values():
            yield from pods
        yield from self.controllers.values()

    def start_pod(self, workload: Workload) -> Process:
        """Adds a replica under a name that was never used before."""
        labels = (
            ("namespace", workload.namespace),
            ("deployment", workload.name),
            ("pod", f"{workload.name}-7d9f8b6c5-{next(self._names):05d}"),
        )
        process = Process(labels, self._lives)
        self.pods.setdefault(workload, []).append(process)
        return process

    def stop_pod(self, workload: Workload, index: int) -> None:
        """Ends a replica, unless it is the last one."""
        pods = self.pods[workload]
        if len(pods) > 1:
            pods.pop(index % len(pods))

    def controller(self, kind: Controller) -> Process:
        """The ingress controller of a kind; it starts when it is first asked for."""
        if kind not in self.controllers:
            self.controllers[kind] = Process((("instance", f"{kind}-0:9100"),), self._lives)
        return self.controllers[kind]

    def record(self, calls: Calls) -> None:
        """Lets the processes on both sides count `calls`, spread over the replicas in turn."""
        edge = calls.edge
        if edge.entry is not None:
            _count_at_controller(self.controller(edge.entry.controller), edge.entry, calls)
        for latencies, pod in self._spread(edge.dst, calls.latencies_ms):
            _count_inbound(pod, calls, latencies)
        if edge.src is not None:
            for latencies, pod in self._spread(edge.src, calls.latencies_ms):
                _count_outbound(pod, calls, latencies)

    def count_noise(self) -> None:
        """Counts what an agent must leave out: probes, scrapes of the proxies, the platform."""
        for workload, pods in self.pods.items():
            for pod in pods:
                for route, port in (("probe", str(workload.port)), ("default", "4191")):
                    labels = (
                        *_inbound_labels(route, port, "no_identity"),
                        ("status_code", "200"),
                        ("classification", "success"),
                    )
                    pod.count("response_total", labels, 3)
                pod.count("tcp_open_total", (("direction", "inbound"),), 3)

    def _spread(
        self, workload: Workload, latencies: tuple[float, ...]
    ) -> Iterator[tuple[tuple[float, ...], Process]]:
        pods = self.pods.get(workload) or [self.start_pod(workload)]
        first = next(self._turns)
        for index in range(len(pods)):
            share = latencies[index :: len(pods)]
            if share:
                yield share, pods[(first + index) % len(pods)]


def _inbound_labels(route: str, port: str, tls: str) -> LabelPairs:
    return (("direction", "inbound"), ("tls", tls), ("srv_port", port), ("route_name", route))


def _count_inbound(pod: Process, calls: Calls, latencies_ms: tuple[float, ...]) -> None:
    workload = calls.edge.dst
    tls = "true" if calls.edge.src is not None and workload.meshed_callers else "no_identity"
    labels = (*_inbound_labels("default", str(workload.port), tls), ("status_code", calls.code))
    _count_linkerd(pod, labels, calls, latencies_ms)


def _count_outbound(pod: Process, calls: Calls, latencies_ms: tuple[float, ...]) -> None:
    target = calls.edge.dst
    labels = (
        ("direction", "outbound"),
        ("tls", "true"),
        ("dst_namespace", target.namespace),
        ("dst_deployment", target.name),
        ("status_code", calls.code),
    )
    _count_linkerd(pod, labels, calls, latencies_ms)


def _count_linkerd(
    pod: Process, labels: LabelPairs, calls: Calls, latencies_ms: tuple[float, ...]
) -> None:
    counted = (*labels, ("classification", calls.classification))
    pod.count("response_total", counted, len(latencies_ms))
    pod.observe("response_latency_ms", labels, LINKERD_BOUNDS_MS, latencies_ms)


def _count_at_controller(process: Process, entry: Entry, calls: Calls) -> None:
    workload = entry.workload
    seconds = [latency / 1000 for latency in calls.latencies_ms]
    number = len(seconds)
    if entry.controller == "traefik":
        labels: LabelPairs = (
            ("code", calls.code),
            ("method", calls.method),
            ("protocol", "http"),
            ("service", f"{entry.service_key}@kubernetes"),
        )
        process.count("traefik_service_requests_total", labels, number)
        process.observe(
            "traefik_service_request_duration_seconds", labels, TRAEFIK_BOUNDS_S, seconds
        )
    elif entry.controller == "nginx":
        labels = (
            ("host", entry.domain),
            ("ingress", workload.name),
            ("method", calls.method),
            ("namespace", workload.namespace),
            ("path", entry.path_prefix),
            ("service", workload.name),
            ("service_port", str(workload.port)),
            ("status", calls.code),
        )
        process.count("nginx_ingress_controller_requests", labels, number)
        process.observe(
            "nginx_ingress_controller_request_duration_seconds", labels, NGINX_BOUNDS_S, seconds
        )
    else:
        proxy = (("proxy", entry.service_key),)
        process.count("gateway_requests_total", (*proxy, ("status", calls.code)), number)
        process.observe("gateway_upstream_latency_seconds", proxy, GATEWAY_BOUNDS_S, seconds)
