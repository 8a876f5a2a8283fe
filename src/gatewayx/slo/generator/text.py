"""What a collector shows of the processes: Prometheus text with all that real ones add to it.

A collector prefixes names, adds the scope of the instrumentation, may stamp times and, for what was
federated, calls everything a gauge. None of it may matter to an agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatewayx.slo.generator.processes import LabelPairs, Process


@dataclass(frozen=True, slots=True)
class CollectorStyle:
    """How a collector writes."""

    prefix: str = "otel_"
    scope: LabelPairs = (
        ("otel_scope_name", "prometheusreceiver"),
        ("otel_scope_version", "0.115.0"),
    )
    timestamp_ms: int | None = None
    sorted_labels: bool = False
    """As a federating Prometheus does; ``le`` is then among the others."""
    extras: bool = True
    """Add series that mean nothing to an agent."""


DEFAULT_STYLE = CollectorStyle()
"""An OpenTelemetry Collector that scrapes by itself."""


def collector_text(processes: Iterable[Process], style: CollectorStyle = DEFAULT_STYLE) -> bytes:
    """The text of this moment: every reachable process, families together, a line feed last."""
    families: dict[str, list[str]] = {}
    for process in processes:
        if process.reachable:
            _write_process(families, process, style)
    lines: list[str] = []
    for name, family in families.items():
        lines += [f"# HELP {name} Made by the generator.", f"# TYPE {name} gauge", *family]
    if style.extras:
        lines += [
            "# TYPE target_info gauge",
            'target_info{job="linkerd-proxy",instance="10.0.0.1:4191"} 1',
            f"{style.prefix}up 1",
            f'{style.prefix}go_gc_duration_seconds{{quantile="0.5"}} NaN',
        ]
    return ("\n".join(lines) + "\n").encode()


def _write_process(families: dict[str, list[str]], process: Process, style: CollectorStyle) -> None:
    suffix = "" if style.timestamp_ms is None else f" {style.timestamp_ms}"
    for (metric, labels), counter in process.counters.items():
        text = _labels((*process.labels, *labels, *style.scope), style)
        families.setdefault(style.prefix + metric, []).append(
            f"{style.prefix}{metric}{text} {counter.value}{suffix}"
        )
    for (metric, labels), histogram in process.histograms.items():
        pairs = (*process.labels, *labels, *style.scope)
        name = style.prefix + metric
        family = families.setdefault(f"{name}_bucket", [])
        bounds = (*map(str, histogram.bounds), "+Inf")
        for bound, count in zip(bounds, histogram.cumulative(), strict=True):
            family.append(f"{name}_bucket{_labels((*pairs, ('le', bound)), style)} {count}{suffix}")
        text = _labels(pairs, style)
        for part, value in (("sum", histogram.sum), ("count", sum(histogram.counts))):
            families.setdefault(f"{name}_{part}", []).append(f"{name}_{part}{text} {value}{suffix}")


def _labels(pairs: LabelPairs, style: CollectorStyle) -> str:
    ordered = sorted(pairs) if style.sorted_labels else pairs
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in ordered) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
