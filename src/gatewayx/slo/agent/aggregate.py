"""Sums the deltas of all processes into services, edges and ingress keys.

Touches nothing but its arguments. Deltas come in per process, so a restart of one of them has
already been accounted for (see ``delta``); from here on everything is addition.

Histograms whose bounds differ are merged over the bounds they share: a cumulative count at a shared
bound is exact in both, and infinity is always shared. What is lost is resolution, never a count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from gatewayx.slo.agent.readings import CounterDelta, Delta, HistogramDelta, Inbound, Outbound
from gatewayx.slo.snapshot import (
    EdgeDelta,
    IngressDelta,
    IngressRequests,
    ServiceDelta,
    ServiceRequests,
    bound_key,
)


@dataclass(frozen=True, slots=True)
class Aggregates:
    """What a snapshot says about one interval, each list in the order of its key."""

    services: tuple[ServiceDelta, ...] = ()
    edges: tuple[EdgeDelta, ...] = ()
    ingress: tuple[IngressDelta, ...] = ()


@dataclass(slots=True)
class _Latency:
    bounds: tuple[float, ...] | None = None
    counts: tuple[int, ...] = ()
    sum: float = 0.0

    @property
    def count(self) -> int:
        return self.counts[-1] if self.counts else 0

    def add(self, delta: HistogramDelta) -> None:
        self.sum += delta.sum
        if self.bounds is None:
            self.bounds, self.counts = delta.bounds, delta.counts
            return
        added = delta.counts
        if self.bounds != delta.bounds:
            ours = dict(zip(self.bounds, self.counts, strict=True))
            theirs = dict(zip(delta.bounds, delta.counts, strict=True))
            self.bounds = tuple(bound for bound in self.bounds if bound in theirs)
            self.counts = tuple(ours[bound] for bound in self.bounds)
            added = tuple(theirs[bound] for bound in self.bounds)
        self.counts = tuple(map(int.__add__, self.counts, added))

    def buckets(self) -> dict[str, int]:
        return dict(zip(map(bound_key, self.bounds or ()), self.counts, strict=True))


@dataclass(slots=True)
class _Entry:
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    tls_requests: int = 0
    failures: int = 0
    latency: _Latency = field(default_factory=_Latency)


def aggregate(deltas: Iterable[Delta]) -> Aggregates:
    """Sums `deltas`; an entry appears if anything happened to it."""
    services: dict[tuple[str, str], _Entry] = {}
    edges: dict[tuple[str, str, str, str], _Entry] = {}
    ingress: dict[str, _Entry] = {}
    for delta in deltas:
        subject = delta.subject
        if isinstance(subject, Inbound):
            entry = services.setdefault((subject.namespace, subject.name), _Entry())
            labels = (subject.status_code, subject.classification)
        elif isinstance(subject, Outbound):
            entry = edges.setdefault(subject[:4], _Entry())
            labels = ("", "")
        else:
            entry = ingress.setdefault(subject.service_key, _Entry())
            labels = (subject.code, subject.method)
        if isinstance(delta, CounterDelta):
            entry.requests[labels] += delta.value
            if isinstance(subject, Inbound) and subject.tls:
                entry.tls_requests += delta.value
            elif isinstance(subject, Outbound) and subject.failed:
                entry.failures += delta.value
        else:
            entry.latency.add(delta)
    return Aggregates(
        services=tuple(_service(key, entry) for key, entry in sorted(services.items())),
        edges=tuple(_edge(key, entry) for key, entry in sorted(edges.items())),
        ingress=tuple(_ingress(key, entry) for key, entry in sorted(ingress.items())),
    )


def _service(key: tuple[str, str], entry: _Entry) -> ServiceDelta:
    return ServiceDelta(
        namespace=key[0],
        name=key[1],
        requests=tuple(
            ServiceRequests(status_code=code, classification=classification, delta=count)
            for (code, classification), count in sorted(entry.requests.items())
        ),
        latency_buckets=entry.latency.buckets(),
        latency_sum=_rounded(entry.latency.sum),
        latency_count=entry.latency.count,
        tls_request_delta=entry.tls_requests,
        total_request_delta=entry.requests.total(),
    )


def _edge(key: tuple[str, str, str, str], entry: _Entry) -> EdgeDelta:
    return EdgeDelta(
        src_ns=key[0],
        src_name=key[1],
        dst_ns=key[2],
        dst_name=key[3],
        request_delta=entry.requests.total(),
        failure_delta=entry.failures,
        latency_sum=_rounded(entry.latency.sum),
        latency_count=entry.latency.count,
    )


def _ingress(key: str, entry: _Entry) -> IngressDelta:
    return IngressDelta(
        service_key=key,
        requests=tuple(
            IngressRequests(code=code, method=method, delta=count)
            for (code, method), count in sorted(entry.requests.items())
        ),
        latency_buckets=entry.latency.buckets(),
        latency_sum=_rounded(entry.latency.sum),
        latency_count=entry.latency.count,
    )


def _rounded(milliseconds: float) -> float:
    """To a nanosecond; seconds times 1000 leave noise behind that."""
    return round(milliseconds, 6) if math.isfinite(milliseconds) else 0.0
