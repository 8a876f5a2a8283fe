"""Gives samples their meaning: Linkerd, Traefik, ingress-nginx and the gateway become readings.

Touches nothing but its arguments. The only place that knows the sources' metric and label names.
Metrics are told apart by name and ``le``, never by TYPE: what was federated has lost it.

A reading that contradicts itself (buckets that shrink, no bucket for infinity, a value that is not
a count) is unusable, not absent. Of two readings of one series, the larger one counts: they are
copies of one counter of different age, told apart by nothing but ``otel_scope_*`` labels, and a
counter grows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from gatewayx.slo.agent.parse import Labels, ParsedText, Sample
from gatewayx.slo.agent.readings import (
    CounterReading,
    HistogramReading,
    Inbound,
    Ingress,
    Outbound,
    Reading,
    Scrape,
    Series,
    Subject,
)
from gatewayx.slo.snapshot import COUNT_MAX, NAME_MAX

PREFIX = "otel_"
VOLATILE_LABELS_PREFIX = "otel_scope_"
TARGET_LABELS = (
    "job",
    "instance",
    "service_instance_id",
    "namespace",
    "pod",
    "k8s_pod_name",
    "controller_namespace",
    "controller_pod",
)
"""Labels that name the counting process. One too many makes a target smaller, which is safe."""
WORKLOAD_LABELS = ("deployment", "statefulset", "daemonset", "replicationcontroller", "cronjob")
"""What Linkerd calls a workload, by kind. A pod has one of them."""

METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
)
OTHER = "OTHER"

Role = Literal["counter", "bucket", "sum", "count"]
SubjectOf = Callable[[Labels], Subject | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one source."""

    name: str
    role: Role
    subject_of: SubjectOf
    milliseconds: float = 1.0
    """What one unit of the source's latency is."""


def _workload(labels: Labels, prefix: str = "") -> str:
    for kind in WORKLOAD_LABELS:
        name = labels.get(prefix + kind)
        if name:
            return name
    return ""


def _linkerd_subject(labels: Labels) -> Subject | None:
    namespace, name = labels.get("namespace", ""), _workload(labels)
    if not namespace or not name:
        return None
    direction = labels.get("direction")
    classification = labels.get("classification", "")
    if direction == "inbound":
        return Inbound(
            namespace,
            name,
            _code(labels.get("status_code", "")),
            classification,
            labels.get("tls") == "true",
        )
    dst_ns, dst_name = labels.get("dst_namespace", ""), _workload(labels, "dst_")
    if direction != "outbound" or not dst_ns or not dst_name:
        return None
    return Outbound(namespace, name, dst_ns, dst_name, classification == "failure")


def _traefik_subject(labels: Labels) -> Subject | None:
    key, _, provider = labels.get("service", "").rpartition("@")
    if not key:
        key, provider = provider, ""
    if not key or provider == "internal":
        return None
    return Ingress(key, _code(labels.get("code", "")), _method(labels.get("method", "")))


def _nginx_subject(labels: Labels) -> Subject | None:
    parts = (labels.get("namespace"), labels.get("service"), labels.get("service_port"))
    if not parts[0] or not parts[1]:
        return None  # a request that matched no ingress
    key = "-".join(part for part in parts if part)
    return Ingress(key, _code(labels.get("status", "")), _method(labels.get("method", "")))


def _gateway_subject(labels: Labels) -> Subject | None:
    proxy = labels.get("proxy")
    return Ingress(proxy, _code(labels.get("status", "")), "") if proxy else None


def _code(code: str) -> str:
    """A status code or class. Whatever else a source writes there is one value."""
    plain = len(code) == 3 and code.isascii() and code.replace("x", "0").isdigit()
    return code if plain or not code else OTHER


def _method(method: str) -> str:
    """A known method. Anyone can send any other, and each would be a row for ever."""
    return method if method in METHODS or not method else OTHER


def _metrics() -> Mapping[str, Metric]:
    sources: tuple[tuple[str, str, SubjectOf, float], ...] = (
        ("response", "response_latency_ms", _linkerd_subject, 1.0),
        (
            "traefik_service_requests",
            "traefik_service_request_duration_seconds",
            _traefik_subject,
            1000.0,
        ),
        (
            "nginx_ingress_controller_requests",
            "nginx_ingress_controller_request_duration_seconds",
            _nginx_subject,
            1000.0,
        ),
        ("gateway_requests", "gateway_upstream_latency_seconds", _gateway_subject, 1000.0),
    )
    table: dict[str, Metric] = {}
    roles: tuple[Role, ...] = ("bucket", "sum", "count")
    for requests, latency, subject_of, milliseconds in sources:
        for prefix in ("", PREFIX):
            for suffix in ("", "_total"):
                table[prefix + requests + suffix] = Metric(requests, "counter", subject_of)
            for role in roles:
                table[f"{prefix}{latency}_{role}"] = Metric(latency, role, subject_of, milliseconds)
    return table


METRICS: Mapping[str, Metric] = _metrics()
"""Every metric name that means something to the agent."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """The readings of one text, and what was left out of them."""

    scrape: Scrape
    skipped: Mapping[str, int]
    """Series without a reading, by reason: unattributed, unusable, repeated."""


@dataclass(slots=True)
class _Owner:
    """What one label set says, worked out once for all its lines."""

    suffix: str
    scope: str
    target: str
    subjects: dict[SubjectOf, Subject | None] = field(default_factory=dict)


@dataclass(slots=True)
class _Parts:
    """The lines of one histogram, as they come."""

    series: Series
    subject: Subject
    buckets: dict[float, float] = field(default_factory=dict)
    sum: float = math.nan
    count: float = math.nan
    legible: bool = True


def normalise(parsed: ParsedText) -> Normalised:
    """Turns samples into one reading a series."""
    skipped: Counter[str] = Counter()
    owners: dict[int, _Owner] = {}
    readings: dict[Series, Reading] = {}
    unusable: set[Series] = set()
    histograms: dict[tuple[Series, str], _Parts] = {}
    for sample in parsed.samples:
        metric = METRICS[sample.name]
        owner = owners.get(id(sample.labels))
        if owner is None:
            owner = owners[id(sample.labels)] = _owner(sample.labels)
        try:
            subject = owner.subjects[metric.subject_of]
        except KeyError:
            subject = metric.subject_of(sample.labels)
            if subject is not None and any(len(str(part)) > NAME_MAX for part in subject):
                subject = None
            owner.subjects[metric.subject_of] = subject
        if subject is None:
            skipped["unattributed"] += metric.role in ("counter", "count")
            continue
        series = Series(metric.name + owner.suffix, metric.name + owner.target)
        if metric.role != "counter":
            parts = histograms.get((series, owner.scope))
            if parts is None:
                parts = histograms[series, owner.scope] = _Parts(series, subject)
            _add_part(parts, metric, sample)
        elif 0 <= sample.value <= COUNT_MAX:
            _keep_larger(
                readings, CounterReading(series, subject, math.floor(sample.value)), skipped
            )
        else:
            unusable.add(series)
    for parts in histograms.values():
        histogram = _histogram(parts)
        if histogram is None:
            unusable.add(parts.series)
        else:
            _keep_larger(readings, histogram, skipped)
    unusable -= readings.keys()
    skipped["unusable"] += len(unusable)
    return Normalised(
        Scrape(
            readings=tuple(readings.values()),
            unusable=frozenset(unusable),
            illegible_lines=parsed.illegible_lines,
        ),
        skipped,
    )


def _owner(labels: Labels) -> _Owner:
    names = sorted(labels)
    return _Owner(
        suffix=_label_text(
            labels, (name for name in names if not name.startswith(VOLATILE_LABELS_PREFIX))
        ),
        scope=_label_text(
            labels, (name for name in names if name.startswith(VOLATILE_LABELS_PREFIX))
        ),
        target=_label_text(labels, (name for name in TARGET_LABELS if name in labels)),
    )


def _label_text(labels: Labels, names: Iterable[str]) -> str:
    # An empty value is the same as no label, as everywhere in Prometheus.
    return "{" + ",".join(f"{name}={labels[name]!r}" for name in names if labels[name]) + "}"


def _add_part(parts: _Parts, metric: Metric, sample: Sample) -> None:
    value = sample.value
    if metric.role == "bucket":
        try:
            bound = float(sample.le or "") * metric.milliseconds
        except ValueError:
            bound = math.nan
        if not bound >= 0 or not 0 <= value <= COUNT_MAX:
            parts.legible = False
            return
        bound = round(bound, 6)
        parts.buckets[bound] = max(value, parts.buckets.get(bound, 0.0))
    elif metric.role == "count":
        if 0 <= value <= COUNT_MAX:
            parts.count = max(value, 0.0 if math.isnan(parts.count) else parts.count)
    elif 0 <= value * metric.milliseconds < math.inf:
        scaled = value * metric.milliseconds
        parts.sum = scaled if math.isnan(parts.sum) else max(scaled, parts.sum)


def _histogram(parts: _Parts) -> HistogramReading | None:
    buckets = parts.buckets
    if not parts.legible:
        return None
    if math.inf not in buckets:
        if math.isnan(parts.count):
            return None
        buckets[math.inf] = parts.count
    bounds = tuple(sorted(buckets))
    counts = tuple(math.floor(buckets[bound]) for bound in bounds)
    if any(after < before for before, after in pairwise(counts)):
        return None
    latency_sum = None if math.isnan(parts.sum) else parts.sum
    return HistogramReading(parts.series, parts.subject, bounds, counts, latency_sum)


def _keep_larger(readings: dict[Series, Reading], reading: Reading, skipped: Counter[str]) -> None:
    other = readings.get(reading.series)
    if other is not None:
        skipped["repeated"] += 1
        if _size(other) >= _size(reading):
            return
    readings[reading.series] = reading


def _size(reading: Reading) -> int:
    return reading.value if isinstance(reading, CounterReading) else reading.counts[-1]
