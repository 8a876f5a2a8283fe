"""The records that pass between the agent's stages. No behaviour.

A *series* is one counter or one whole histogram of one process. A *reading* is what a series
showed in one scrape; a *delta* is what happened to it between two scrapes. Both carry a *subject*:
which part of the snapshot the figure belongs to. Latencies are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Series(NamedTuple):
    """What tells one series from every other, from scrape to scrape and across restarts."""

    identity: str
    """Canonical metric name and labels; without ``otel_`` prefix and ``otel_scope_*`` labels."""
    target: str
    """The metric and the process that counts it, as far as labels tell. When the process cannot be
    reached, all its series are gone at once."""


class Inbound(NamedTuple):
    """A mesh service, seen from its own side."""

    namespace: str
    name: str
    status_code: str
    classification: str
    tls: bool


class Outbound(NamedTuple):
    """A call from one mesh service to another, seen from the caller's side."""

    src_ns: str
    src_name: str
    dst_ns: str
    dst_name: str
    failed: bool


class Ingress(NamedTuple):
    """A service key as an ingress controller, or the gateway, sees it."""

    service_key: str
    code: str
    method: str


Subject = Inbound | Outbound | Ingress


@dataclass(frozen=True, slots=True)
class CounterReading:
    """Requests counted so far."""

    series: Series
    subject: Subject
    value: int


@dataclass(frozen=True, slots=True)
class HistogramReading:
    """Latencies counted so far: cumulative `counts` over ascending `bounds` that end in infinity.

    `sum` is None where the scrape shows no usable sum.
    """

    series: Series
    subject: Subject
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float | None


Reading = CounterReading | HistogramReading


@dataclass(frozen=True, slots=True)
class Scrape:
    """One look at every series of interest."""

    readings: tuple[Reading, ...]
    unusable: frozenset[Series]
    """Series that are there but could not be read this time. They are not absent."""
    illegible_lines: int
    """Lines that may have been any series."""


@dataclass(frozen=True, slots=True)
class CounterDelta:
    """Requests between two scrapes."""

    subject: Subject
    value: int


@dataclass(frozen=True, slots=True)
class HistogramDelta:
    """Latencies between two scrapes; `counts` are cumulative over `bounds`."""

    subject: Subject
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


Delta = CounterDelta | HistogramDelta
