"""Records of a snapshot to rows of the raw tables: pure functions, one a record kind.

The ids of names are looked up by the caller; nothing here touches the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gatewayx.slo.master.histogram import pack
from gatewayx.slo.snapshot import EdgeDelta, IngressDelta, Latency, ServiceDelta

Row = dict[str, Any]


def is_server_error(code: str) -> bool:
    """Whether an ingress status code, or class ("5xx"), is 500 or above."""
    return code[:1] == "5"


def bounds_text(record: Latency) -> str:
    """The bounds of a record's histogram as the dictionary spells them."""
    return ",".join(record.latency_buckets)


def _latency(record: Latency, bounds: Mapping[str, int]) -> Row:
    # A histogram without observations says nothing that latency_count does not.
    counted = bool(record.latency_buckets) and record.latency_count > 0
    return {
        "latency_sum": record.latency_sum,
        "latency_count": record.latency_count,
        "bounds_id": bounds[bounds_text(record)] if counted else None,
        "buckets": pack(tuple(record.latency_buckets.values())) if counted else None,
    }


def service_rows(
    snapshot_id: int,
    services: Iterable[ServiceDelta],
    ids: Mapping[tuple[str, str], int],
    bounds: Mapping[str, int],
) -> list[Row]:
    """Rows of `slo_service_raw`."""
    rows = []
    for service in services:
        successes: dict[str, int] = defaultdict(int)
        failures: dict[str, int] = defaultdict(int)
        for item in service.requests:
            outcome = failures if item.classification == "failure" else successes
            outcome[item.status_code] += item.delta
        rows.append(
            {
                "snapshot_id": snapshot_id,
                "service_id": ids[service.namespace, service.name],
                "total": service.total_request_delta,
                "errors": sum(failures.values()),
                "successes": _present(successes),
                "failures": _present(failures),
                **_latency(service, bounds),
                "tls_requests": service.tls_request_delta,
                "tls_total": service.total_request_delta,
            }
        )
    return rows


def edge_rows(snapshot_id: int, edges: Sequence[EdgeDelta], edge_ids: Sequence[int]) -> list[Row]:
    """Rows of `slo_edge_raw`; `edge_ids` run parallel to `edges`."""
    return [
        {
            "snapshot_id": snapshot_id,
            "edge_id": edge_id,
            "requests": edge.request_delta,
            "failures": edge.failure_delta,
            "latency_sum": edge.latency_sum,
            "latency_count": edge.latency_count,
        }
        for edge, edge_id in zip(edges, edge_ids, strict=True)
    ]


def ingress_rows(
    snapshot_id: int,
    ingress: Iterable[IngressDelta],
    ids: Mapping[str, int],
    bounds: Mapping[str, int],
) -> list[Row]:
    """Rows of `slo_metrics_raw`."""
    rows = []
    for record in ingress:
        requests: dict[str, dict[str, int]] = {}
        for item in record.requests:
            if item.delta:
                requests.setdefault(item.method, {})[item.code] = item.delta
        rows.append(
            {
                "snapshot_id": snapshot_id,
                "ingress_id": ids[record.service_key],
                "total": sum(item.delta for item in record.requests),
                "errors": sum(item.delta for item in record.requests if is_server_error(item.code)),
                "requests": requests or None,
                **_latency(record, bounds),
            }
        )
    return rows


def _present(counts: Mapping[str, int]) -> dict[str, int] | None:
    return {code: count for code, count in counts.items() if count} or None
