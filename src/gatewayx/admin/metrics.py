"""The metrics page: what is counted natively, and the supervisor's own process beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from gatewayx import __version__
from gatewayx.admin.exposition import bound_text
from gatewayx.admin.state import Family

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

FamiliesText = Callable[[bool], bytes]


class BuildInfo(Collector):
    """Which version answers, as a label of a series that is always 1."""

    def collect(self) -> Iterator[Metric]:
        """`gateway_build_info{version="..."} 1`."""
        yield InfoMetricFamily("gateway_build", "The running version.", {"version": __version__})


class Exposition:
    """The metrics page in both formats, with the supervisor's own process figures in it."""

    def __init__(self, families_text: FamiliesText) -> None:
        """`families_text` writes the families: OpenMetrics without its end mark, or not."""
        self._families_text = families_text
        self._own = CollectorRegistry(auto_describe=False)
        self._own.register(BuildInfo())
        ProcessCollector(registry=self._own)
        PlatformCollector(registry=self._own)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type, by the request's Accept field."""
        if prefers_openmetrics(accept):
            own: bytes = generate_openmetrics(self._own)  # type: ignore[no-untyped-call]
            return self._families_text(True) + own, OPENMETRICS_TYPE
        return self._families_text(False) + generate_latest(self._own), TEXT_TYPE


def prefers_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics is named, and liked at least as well as plain text (RFC 9110 section
    12.5.1).
    """
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if media in weights:
            weights[media] = max(weights[media], _quality(parameters))
    openmetrics, text = weights.values()
    return openmetrics > 0 and openmetrics >= text


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def as_json(rows: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    """The same families for programs that would rather not parse text."""
    families = (Family(*row) for row in rows)
    return {family.series_name: _family_as_json(family) for family in families}


def _family_as_json(family: Family) -> dict[str, Any]:
    samples: list[dict[str, Any]] = []
    for labels, *figures in family.samples:
        sample: dict[str, Any] = {"labels": dict(zip(family.label_names, labels, strict=True))}
        if family.kind == "histogram":
            buckets, total = figures
            bounds = [*map(bound_text, family.bounds), "+Inf"]
            sample["buckets"] = dict(zip(bounds, buckets, strict=True))
            sample |= {"sum": total, "count": buckets[-1]}
        else:
            sample["value"] = figures[0]
        samples.append(sample)
    return {"kind": family.kind, "help": family.help, "samples": samples}
