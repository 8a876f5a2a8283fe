"""Figures as the API gives them.

Units: latencies in ms, `error_rate`, `availability` and `mtls_percent` in percent, `rps` over the
time that was observed. What nobody observed is null, never 0. `latency_distribution` counts what
fell inside each bucket, so that its counts add up to the observations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewayx.slo.master.figures import EdgeFigures, Figures
from gatewayx.slo.master.histogram import per_bucket
from gatewayx.slo.master.plan import Plan
from gatewayx.slo.master.reading import Reading
from gatewayx.slo.master.tables import STATUS_CLASSES
from gatewayx.slo.master.targets import Target

Answer = dict[str, Any]


def golden_answer(reading: Reading, figures: Figures, target: Target) -> Answer:
    """The golden signals of a service or an ingress key."""
    p50, p95, p99 = figures.quantiles(reading.names, reading.conn, 0.5, 0.95, 0.99)
    return {
        "rps": reading.plan.rate(figures.total),
        "total_requests": figures.total,
        "total_errors": figures.errors,
        "error_rate": figures.error_rate,
        "availability": figures.availability,
        "avg_latency": figures.avg_ms,
        "p50_latency": p50.value_ms,
        "p95_latency": p95.value_ms,
        "p99_latency": p99.value_ms,
        "latency_saturated": p99.saturated,
        "status": target.judge(figures, p95.value_ms).value,
        "latency_distribution": _distribution(reading, figures),
        "status_code_breakdown": [
            {"code": name, "count": count}
            for name, count in zip(STATUS_CLASSES, figures.classes, strict=True)
            if count
        ],
    }


def _distribution(reading: Reading, figures: Figures) -> list[Answer]:
    main = figures.main_histogram()
    if main is None:
        return []
    keys = reading.names.bound_set(reading.conn, main[0]).keys
    return [
        {"le": key, "count": count} for key, count in zip(keys, per_bucket(main[1]), strict=True)
    ]


def edge_answers(reading: Reading, edges: Mapping[int, EdgeFigures]) -> list[Answer]:
    """Edges of the call graph, source calls target, in order of their ends."""
    ends = {edge_id: reading.cluster.edges.key(reading.conn, edge_id) for edge_id in edges}
    # Each service is named once here, and by many edges.
    names = {
        service_id: reading.key_of("service", service_id)
        for service_id in {service_id for pair in ends.values() for service_id in pair}
    }
    links = [
        {
            "source": names[ends[edge_id][0]],
            "target": names[ends[edge_id][1]],
            "rps": reading.plan.rate(figures.requests),
            "avg_latency": figures.avg_ms,
            "error_rate": figures.error_rate,
            "total_requests": figures.requests,
        }
        for edge_id, figures in edges.items()
    ]
    return sorted(links, key=lambda link: (link["source"], link["target"]))


def history_point(plan_start: str | None, covered: Plan, figures: Figures, p95: Any) -> Answer:
    """One point of a history."""
    return {
        "timestamp": plan_start,
        "rps": covered.rate(figures.total),
        "p95_latency": p95,
        "error_rate": figures.error_rate,
        "availability": figures.availability,
        "mtls_percent": figures.mtls_percent,
        "total_requests": figures.total,
    }
