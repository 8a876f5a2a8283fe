"""A day in the life of a small shop, from one seed.

Traffic follows the clock, twice as heavy in the evening as on average and nearly still at night.
In between things go wrong that an operator should find: payments fail for twenty minutes, search
becomes slow after a release and is rolled back, a pod crashes now and then.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import accumulate

from gatewayx.slo.agent.aggregate import aggregate
from gatewayx.slo.agent.readings import (
    CounterDelta,
    Delta,
    HistogramDelta,
    Inbound,
    Ingress,
    Outbound,
    Subject,
)
from gatewayx.slo.generator.calls import Calls, Edge, Entry, Workload
from gatewayx.slo.generator.processes import (
    GATEWAY_BOUNDS_S,
    LINKERD_BOUNDS_MS,
    NGINX_BOUNDS_S,
    TRAEFIK_BOUNDS_S,
    Cluster,
    HistogramCell,
)
from gatewayx.slo.generator.text import DEFAULT_STYLE, CollectorStyle, collector_text
from gatewayx.slo.snapshot import Route, SLOSnapshot

WEB = Workload("shop", "web", replicas=3, port=8080, median_ms=45, error_share=0.0005)
CART = Workload("shop", "cart", median_ms=12)
CATALOG = Workload("shop", "catalog", replicas=3, median_ms=8, spread=0.4)
SEARCH = Workload("shop", "search", median_ms=60, spread=0.8, error_share=0.0008)
PAYMENTS = Workload("billing", "payments", port=9000, median_ms=140, error_share=0.0006)
LEDGER = Workload("billing", "ledger", port=9000, median_ms=25, spread=0.3, error_share=0.0001)
MAIL = Workload("platform", "mail", replicas=1, median_ms=220, spread=0.9, error_share=0.004)
ASSISTANT = Workload("ai", "assistant", replicas=1, port=8001, median_ms=900, spread=0.9)
EMBEDDINGS = Workload("ai", "embeddings", replicas=1, median_ms=80, meshed_callers=False)

_SHOP = Entry("traefik", "shop.example.com", "/", WEB)
_SEARCH = Entry("nginx", "search.example.com", "/", SEARCH)
_ASSISTANT = Entry("gateway", "assistant.example.com", "/api/proxy/assistant", ASSISTANT)
ENTRIES = (_SHOP, _SEARCH, _ASSISTANT)

EDGES = (
    Edge(None, WEB, _SHOP, 4.0),
    Edge(None, SEARCH, _SEARCH, 1.5),
    Edge(None, ASSISTANT, _ASSISTANT, 0.4),
    Edge(WEB, CATALOG, None, 5.0),
    Edge(WEB, CART, None, 2.0),
    Edge(WEB, SEARCH, None, 1.0),
    Edge(CART, PAYMENTS, None, 0.5),
    Edge(PAYMENTS, LEDGER, None, 0.8),
    Edge(PAYMENTS, MAIL, None, 0.3),
    Edge(SEARCH, CATALOG, None, 1.2),
    Edge(SEARCH, EMBEDDINGS, None, 0.8),
    Edge(ASSISTANT, EMBEDDINGS, None, 0.5),
)
METHODS = (("GET", 0.8), ("POST", 0.17), ("DELETE", 0.03))
_BOUNDS_MS = {
    "traefik": tuple(bound * 1000 for bound in TRAEFIK_BOUNDS_S),
    "nginx": tuple(bound * 1000 for bound in NGINX_BOUNDS_S),
    "gateway": tuple(bound * 1000 for bound in GATEWAY_BOUNDS_S),
}


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that goes wrong with a workload for a while."""

    workload: Workload
    start_hour: float
    end_hour: float
    error_share: float = 0.0
    """Added to the workload's own."""
    slowdown: float = 1.0


INCIDENTS = (
    Incident(PAYMENTS, 10.0, 10.35, error_share=0.25),
    Incident(SEARCH, 14.0, 15.5, slowdown=6.0),
    Incident(MAIL, 18.0, 19.0, error_share=0.05, slowdown=2.0),
    Incident(ASSISTANT, 20.0, 20.5, error_share=0.1, slowdown=3.0),
)


@dataclass(frozen=True, slots=True)
class ScrapedText:
    """A collector's text and when it was asked for."""

    at: float
    """Seconds since the epoch."""
    text: bytes


@dataclass(frozen=True, slots=True)
class Period:
    """The calls of one interval."""

    start: datetime
    end: datetime
    calls: tuple[Calls, ...]


@dataclass(frozen=True)
class Day:
    """A day, or any other stretch, of traffic.

    Args:
        seed: Everything follows from it.
        start: When it begins. Incidents are placed by hours since then.
        duration_s: How long it lasts.
        interval_s: Time between two scrapes.
        rate: Factor on all traffic; 1 is about 18 calls a second.
        cluster_id: Of the snapshots.
        agent_id: Of the snapshots.
    """

    seed: int = 1
    start: datetime = datetime(2026, 1, 5, tzinfo=UTC)
    duration_s: float = 86_400.0
    interval_s: float = 60.0
    rate: float = 1.0
    cluster_id: str = "demo"
    agent_id: str = "demo-agent"

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """What leads where, for every entry."""
        return tuple(
            Route(
                domain=entry.domain,
                path_prefix=entry.path_prefix,
                service_key=entry.service_key,
                service_name=entry.workload.name,
                service_port=str(entry.workload.port),
                tls=True,
            )
            for entry in ENTRIES
        )

    def periods(self) -> Iterator[Period]:
        """The true event stream, interval by interval."""
        source = random.Random(self.seed)
        for index in range(int(self.duration_s // self.interval_s)):
            start = self.start + timedelta(seconds=index * self.interval_s)
            end = start + timedelta(seconds=self.interval_s)
            hour = index * self.interval_s / 3600
            calls = tuple(
                batch
                for edge in EDGES
                for batch in _calls(source, edge, hour, self.interval_s * self.rate)
            )
            yield Period(start, end, calls)

    def snapshots(self) -> Iterator[SLOSnapshot]:
        """What a perfect agent would send: no scrape, no restart, nothing unknown."""
        for seq, period in enumerate(self.periods(), start=1):
            figures = aggregate(_deltas(period.calls))
            yield SLOSnapshot(
                cluster_id=self.cluster_id,
                agent_id=self.agent_id,
                seq=seq,
                timestamp=period.end,
                interval_start=period.start,
                interval_end=period.end,
                services=figures.services,
                edges=figures.edges,
                ingress=figures.ingress,
                routes=self.routes,
            )

    def scrapes(
        self, style: CollectorStyle = DEFAULT_STYLE, *, churn: bool = True
    ) -> Iterator[ScrapedText]:
        """What a collector would show: one text before the first interval, one after each.

        With `churn`, pods crash, move and lose idle series, always just after a scrape.
        """
        cluster = Cluster()
        source = random.Random(f"churn {self.seed}")
        for workload in {edge.dst: None for edge in EDGES}:
            for _ in range(workload.replicas):
                cluster.start_pod(workload)
        yield ScrapedText(self.start.timestamp(), collector_text(cluster.processes(), style))
        for period in self.periods():
            for calls in period.calls:
                cluster.record(calls)
            cluster.count_noise()
            yield ScrapedText(period.end.timestamp(), collector_text(cluster.processes(), style))
            if churn:
                _churn(source, cluster)


def _calls(source: random.Random, edge: Edge, hour: float, seconds: float) -> Iterator[Calls]:
    workload = edge.dst
    error_share, slowdown = workload.error_share, 1.0
    for incident in INCIDENTS:
        if incident.workload is workload and incident.start_hour <= hour < incident.end_hour:
            error_share += incident.error_share
            slowdown *= incident.slowdown
    number = _poisson(source, edge.calls_per_second * seconds * _tide(hour))
    shares: dict[tuple[str, str], int] = defaultdict(int)
    methods = source.choices(
        [name for name, _ in METHODS], [weight for _, weight in METHODS], k=number
    )
    for method in methods:
        chance = source.random()
        code = "503" if chance < error_share else "404" if chance > 0.995 else "200"
        shares[code, method] += 1
    centre = math.log(workload.median_ms * slowdown)
    for (code, method), count in shares.items():
        latencies = tuple(source.lognormvariate(centre, workload.spread) for _ in range(count))
        yield Calls(edge, code, method, latencies)


def _tide(hour: float) -> float:
    """Traffic by the hour of the day: least at three, most at seven in the evening."""
    daily = 0.6 * math.sin((hour - 9) / 24 * 2 * math.pi)
    half_daily = 0.4 * math.sin((hour - 16) / 12 * 2 * math.pi)
    return max(0.05, 1.0 + daily + half_daily)


def _poisson(source: random.Random, mean: float) -> int:
    """A Poisson draw; for large means the normal one that it approaches."""
    if mean > 50:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    limit, number, product = math.exp(-mean), 0, source.random()
    while product > limit:
        number += 1
        product *= source.random()
    return number


def _churn(source: random.Random, cluster: Cluster) -> None:
    for workload, pods in cluster.pods.items():
        chance = source.random()
        if chance < 0.002:
            pods[source.randrange(len(pods))].restart()
        elif chance < 0.004:
            cluster.start_pod(workload)
            cluster.stop_pod(workload, 0)
        elif chance < 0.006:
            pods[source.randrange(len(pods))].evict(source.randrange(1000))


def _deltas(batches: tuple[Calls, ...]) -> Iterator[Delta]:
    for calls in batches:
        edge, dst = calls.edge, calls.edge.dst
        tls = edge.src is not None and dst.meshed_callers
        yield from _counted(
            Inbound(dst.namespace, dst.name, calls.code, calls.classification, tls),
            calls,
            LINKERD_BOUNDS_MS,
        )
        if edge.src is not None:
            src = edge.src
            yield from _counted(
                Outbound(src.namespace, src.name, dst.namespace, dst.name, calls.failed),
                calls,
                LINKERD_BOUNDS_MS,
            )
        if edge.entry is not None:
            entry = edge.entry
            method = "" if entry.controller == "gateway" else calls.method
            yield from _counted(
                Ingress(entry.service_key, calls.code, method),
                calls,
                _BOUNDS_MS[entry.controller],
            )


def _counted(subject: Subject, calls: Calls, bounds_ms: tuple[float, ...]) -> Iterator[Delta]:
    cell = HistogramCell(0, bounds_ms, [0] * (len(bounds_ms) + 1))
    cell.observe(calls.latencies_ms)
    yield CounterDelta(subject, len(calls.latencies_ms))
    yield HistogramDelta(
        subject, (*map(float, bounds_ms), math.inf), tuple(accumulate(cell.counts)), cell.sum
    )
