"""The snapshot: what one agent saw happen in one interval, and its JSON.

This is the whole contract between agent and master. Every record is immutable and checked when it
is built, on both sides, so that nothing downstream has to ask again whether a count is an integer
or a bucket is cumulative.

Invariants of a snapshot that exists:

- counts are integers from 0 to ``COUNT_MAX``; latencies are milliseconds, finite and not negative;
- ``latency_buckets`` is empty, or cumulative over ascending bounds that end in ``+Inf``, and the
  ``+Inf`` bucket equals ``latency_count``;
- a bound has one spelling (``"5"``, never ``"5.0"``), so equal bound sets are equal key sets;
- a service, edge, ingress key, route or request label pair occurs once;
- every time is UTC and ``interval_start <= interval_end``.

A list names what was active: an entry whose every figure is zero is left out by the agent.
``(agent_id, seq)`` identifies a snapshot for ever, so a repeated post is recognised.

Stricter: unknown fields, numbers written as strings and times without a zone are refused, because
two versions that guess differently would store two different histories.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

COUNT_MAX = 2**53 - 1
"""The largest count: the last integer that every JSON reader and an IEEE double agree on."""
NAME_MAX = 253
"""Longest name (characters): that of a DNS name, which Kubernetes names fit in."""
SERVICES_MAX = 20_000
EDGES_MAX = 100_000
INGRESS_MAX = 20_000
ROUTES_MAX = 50_000
REQUESTS_MAX = 1_000
"""Most label pairs of one service or ingress key."""
BUCKETS_MAX = 256
FAULTS_MAX = 20
"""Most faults that one refusal lists; the rest would only repeat them."""

INFINITY_KEY = "+Inf"


@lru_cache(maxsize=4096)
def bound_ms(key: str) -> float:
    """The upper bound that a bucket key stands for, in milliseconds.

    Raises:
        ValueError: the key is not a bound, or not in the one spelling that ``bound_key`` gives.
    """
    if key == INFINITY_KEY:
        return math.inf
    try:
        bound = float(key)
    except ValueError:
        bound = math.nan
    if not (math.isfinite(bound) and bound >= 0):
        raise ValueError(f"bucket bound {key!r} is not a number of milliseconds or +Inf")
    if bound_key(bound) != key:
        raise ValueError(f"bucket bound {key!r} must be written {bound_key(bound)!r}")
    return bound


@lru_cache(maxsize=4096)
def bound_key(bound: float) -> str:
    """The one spelling of a bucket bound of `bound` milliseconds, exact to a nanosecond."""
    if math.isinf(bound):
        return INFINITY_KEY
    return f"{bound:.6f}".rstrip("0").rstrip(".")


def _checked_buckets(buckets: dict[str, int]) -> dict[str, int]:
    if not buckets:
        return buckets
    if INFINITY_KEY not in buckets:
        raise ValueError("the +Inf bucket is missing")
    ordered = {key: buckets[key] for key in _ascending(tuple(buckets))}
    previous = 0
    for key, count in ordered.items():
        if count < previous:
            raise ValueError(f"bucket {key} counts {count}, less than the {previous} below it")
        previous = count
    return ordered


@lru_cache(maxsize=1024)
def _ascending(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(keys, key=bound_ms))


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Name = Annotated[str, Field(min_length=1, max_length=NAME_MAX)]
Label = Annotated[str, Field(max_length=NAME_MAX)]
"""A label value that a source may leave empty."""
Buckets = Annotated[
    dict[str, Count], Field(max_length=BUCKETS_MAX), AfterValidator(_checked_buckets)
]


class Record(BaseModel):
    """Base of every record: immutable, exact types, no unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class ServiceRequests(Record):
    """Requests that a service answered with one status code and classification."""

    status_code: Label
    classification: Label
    delta: Count


class IngressRequests(Record):
    """Requests that an ingress key answered with one status code (or class, ``2xx``) and method."""

    code: Label
    method: Label
    delta: Count


class Latency(Record):
    """A latency distribution: cumulative counts by bound, sum and count, in milliseconds."""

    latency_buckets: Buckets = Field(default_factory=dict)
    latency_sum: Milliseconds = 0.0
    latency_count: Count = 0

    @model_validator(mode="after")
    def _count_matches_buckets(self) -> Self:
        infinity = self.latency_buckets.get(INFINITY_KEY, self.latency_count)
        if infinity != self.latency_count:
            raise ValueError(
                f"the +Inf bucket counts {infinity} but latency_count is {self.latency_count}"
            )
        return self


class ServiceDelta(Latency):
    """What a mesh service answered, seen from its own side (inbound)."""

    namespace: Name
    name: Name
    requests: tuple[ServiceRequests, ...] = Field(default=(), max_length=REQUESTS_MAX)
    tls_request_delta: Count = 0
    total_request_delta: Count = 0

    @model_validator(mode="after")
    def _totals_agree(self) -> Self:
        _refuse_repeats(
            "request", self.requests, lambda item: (item.status_code, item.classification)
        )
        total = sum(item.delta for item in self.requests)
        if total != self.total_request_delta:
            raise ValueError(
                f"total_request_delta is {self.total_request_delta} but requests add up to {total}"
            )
        if self.tls_request_delta > total:
            raise ValueError("tls_request_delta is larger than total_request_delta")
        return self


class EdgeDelta(Record):
    """What one service asked of another, seen from the asking side (outbound)."""

    src_ns: Name
    src_name: Name
    dst_ns: Name
    dst_name: Name
    request_delta: Count = 0
    failure_delta: Count = 0
    latency_sum: Milliseconds = 0.0
    latency_count: Count = 0

    @model_validator(mode="after")
    def _failures_are_requests(self) -> Self:
        if self.failure_delta > self.request_delta:
            raise ValueError("failure_delta is larger than request_delta")
        return self


class IngressDelta(Latency):
    """What entered the cluster for one service key (``namespace-service-port``)."""

    service_key: Name
    requests: tuple[IngressRequests, ...] = Field(default=(), max_length=REQUESTS_MAX)

    @model_validator(mode="after")
    def _requests_are_distinct(self) -> Self:
        _refuse_repeats("request", self.requests, lambda item: (item.code, item.method))
        return self


class Route(Record):
    """A domain and path prefix, and the service key that answers for it."""

    domain: Label
    path_prefix: Annotated[str, Field(min_length=1, max_length=2048)]
    service_key: Name
    service_name: Name
    service_port: Label
    tls: bool = False


class SLOSnapshot(Record):
    """One interval of one agent. The master stores it whole or not at all."""

    cluster_id: Name
    agent_id: Name
    seq: Annotated[int, Field(ge=1, le=COUNT_MAX)]
    timestamp: Moment
    interval_start: Moment
    interval_end: Moment
    services: tuple[ServiceDelta, ...] = Field(default=(), max_length=SERVICES_MAX)
    edges: tuple[EdgeDelta, ...] = Field(default=(), max_length=EDGES_MAX)
    ingress: tuple[IngressDelta, ...] = Field(default=(), max_length=INGRESS_MAX)
    routes: tuple[Route, ...] = Field(default=(), max_length=ROUTES_MAX)

    @model_validator(mode="after")
    def _entries_are_distinct(self) -> Self:
        if self.interval_end < self.interval_start:
            raise ValueError("interval_end is before interval_start")
        _refuse_repeats("service", self.services, lambda item: (item.namespace, item.name))
        _refuse_repeats(
            "edge",
            self.edges,
            lambda item: (item.src_ns, item.src_name, item.dst_ns, item.dst_name),
        )
        _refuse_repeats("ingress key", self.ingress, lambda item: item.service_key)
        _refuse_repeats("route", self.routes, lambda item: (item.domain, item.path_prefix))
        return self

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Reads one snapshot.

        Raises:
            SnapshotError: the text is not a snapshot; it lists what is wrong and where.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SnapshotError(_faults(error)) from None

    def to_json(self) -> bytes:
        """The snapshot as compact JSON in UTF-8; ``from_json`` gives back an equal snapshot."""
        return self.model_dump_json().encode()


@dataclass(frozen=True, slots=True)
class SnapshotFault:
    """One thing wrong with a refused snapshot."""

    place: str
    """Where, as in ``services.3.latency_count``; empty for the document itself."""
    problem: str


class SnapshotError(ValueError):
    """A text that is not a valid snapshot. The sender is to blame."""

    def __init__(self, faults: tuple[SnapshotFault, ...]) -> None:
        self.faults = faults
        super().__init__(
            "; ".join(
                f"{fault.place}: {fault.problem}" if fault.place else fault.problem
                for fault in faults
            )
        )


def _faults(error: ValidationError) -> tuple[SnapshotFault, ...]:
    listed = error.errors(include_url=False, include_context=False, include_input=False)
    return tuple(
        SnapshotFault(".".join(map(str, item["loc"])), item["msg"]) for item in listed[:FAULTS_MAX]
    )


Item = TypeVar("Item")


def _refuse_repeats(what: str, items: Iterable[Item], identity: Callable[[Item], Hashable]) -> None:
    seen: set[Hashable] = set()
    for item in items:
        key = identity(item)
        if key in seen:
            raise ValueError(f"{what} {key} occurs twice")
        seen.add(key)
