"""The master's tables.

Names are spelt once, in dictionary tables (`slo_services`, `slo_edges`, `slo_ingress_keys`), and so
are the bounds of histograms (`slo_bucket_bounds`): a raw row is a handful of small integers. Rows
are clustered by time first, so that ingest appends, a range is one contiguous scan and the cleaner
cuts off a prefix.

Buckets are one JSON column holding cumulative counts by `le` in ms: the `le` strings are the row of
`slo_bucket_bounds` that `bounds_id` names, and the counts are `[skip, c0, c1, ...]`, packed by
`histogram.pack`: `skip` leading zeros are left out, and so are repeats of the last count.

Rolled-up tables come in three spans. `slo_*_hourly` is the contract's; `slo_*_5m` lets a range
start between hours without reading raw rows, `slo_*_daily` lets a month answer in a second.
A row with `start_s` holds the snapshots whose interval ended in `(start_s, start_s + span]`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# JSON null and SQL NULL are one thing here: absent.
ABSENT_JSON = JSON(none_as_null=True)

# SQLite only gives ids to INTEGER keys.
ID = BigInteger().with_variant(Integer(), "sqlite")

FIVE_MINUTES_S: Final = 300
HOUR_S: Final = 3600
DAY_S: Final = 86400
SPANS_S: Final = (DAY_S, HOUR_S, FIVE_MINUTES_S)
"""Coarsest first."""

STATUS_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")


def _id() -> Column[int]:
    return Column("id", ID, primary_key=True, autoincrement=True)


# --- dictionaries ---------------------------------------------------------------------------

clusters = Table(
    "slo_clusters", metadata, _id(), Column("name", String, nullable=False, unique=True)
)

agents = Table(
    "slo_agents",
    metadata,
    _id(),
    Column("cluster_id", ID, ForeignKey(clusters.c.id), nullable=False),
    Column("name", String, nullable=False),
    UniqueConstraint("cluster_id", "name"),
)

services = Table(
    "slo_services",
    metadata,
    _id(),
    Column("cluster_id", ID, ForeignKey(clusters.c.id), nullable=False),
    Column("namespace", String, nullable=False),
    Column("name", String, nullable=False),
    UniqueConstraint("cluster_id", "namespace", "name"),
)

edges = Table(
    "slo_edges",
    metadata,
    _id(),
    Column("cluster_id", ID, ForeignKey(clusters.c.id), nullable=False),
    Column("source_id", ID, ForeignKey(services.c.id), nullable=False),
    Column("target_id", ID, ForeignKey(services.c.id), nullable=False),
    UniqueConstraint("cluster_id", "source_id", "target_id"),
)

ingress_keys = Table(
    "slo_ingress_keys",
    metadata,
    _id(),
    Column("cluster_id", ID, ForeignKey(clusters.c.id), nullable=False),
    Column("service_key", String, nullable=False),
    UniqueConstraint("cluster_id", "service_key"),
)

bucket_bounds = Table(
    "slo_bucket_bounds",
    metadata,
    _id(),
    Column("bounds", String, nullable=False, unique=True),  # "5,10,20,+Inf"
)

# --- raw ------------------------------------------------------------------------------------

snapshots = Table(
    "slo_snapshots",
    metadata,
    _id(),
    Column("cluster_id", ID, ForeignKey(clusters.c.id), nullable=False),
    Column("agent_id", ID, ForeignKey(agents.c.id), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    # Invariant: true exactly when the snapshot is part of all three rolled-up spans.
    Column("rolled", Boolean, nullable=False),
    UniqueConstraint("agent_id", "seq"),
    Index("slo_snapshots_by_end", "cluster_id", "end_ms"),
    sqlite_autoincrement=True,  # an id freed by the cleaner must not name another snapshot
)
Index(
    "slo_snapshots_unrolled",
    snapshots.c.id,
    sqlite_where=text("rolled = 0"),
    postgresql_where=text("rolled = false"),
)


def _raw(name: str, key: str, *columns: Column[object]) -> Table:
    return Table(
        name,
        metadata,
        Column("snapshot_id", ID, primary_key=True, autoincrement=False),
        Column(key, ID, primary_key=True, autoincrement=False),
        *columns,
        sqlite_with_rowid=False,
    )


def _histogram_columns() -> list[Column[object]]:
    return [
        Column("latency_sum", Float, nullable=False),
        Column("latency_count", BigInteger, nullable=False),
        Column("bounds_id", Integer, nullable=True),
        Column("buckets", ABSENT_JSON, nullable=True),
    ]


def _count(name: str) -> Column[object]:
    return Column(name, BigInteger, nullable=False)


service_raw = _raw(
    "slo_service_raw",
    "service_id",
    _count("total"),
    _count("errors"),
    Column("successes", ABSENT_JSON, nullable=True),  # {"200": 118}
    Column("failures", ABSENT_JSON, nullable=True),
    *_histogram_columns(),
    _count("tls_requests"),
    _count("tls_total"),
)

edge_raw = _raw(
    "slo_edge_raw",
    "edge_id",
    _count("requests"),
    _count("failures"),
    Column("latency_sum", Float, nullable=False),
    _count("latency_count"),
)

metrics_raw = _raw(
    "slo_metrics_raw",
    "ingress_id",
    _count("total"),
    _count("errors"),
    Column("requests", ABSENT_JSON, nullable=True),  # {"GET": {"200": 118}}
    *_histogram_columns(),
)

# --- rolled up ------------------------------------------------------------------------------


def _rolled(name: str, key: str, *columns: Column[object]) -> Table:
    return Table(
        name,
        metadata,
        Column("cluster_id", ID, primary_key=True, autoincrement=False),
        Column("start_s", BigInteger, primary_key=True, autoincrement=False),
        Column(key, ID, primary_key=True, autoincrement=False),
        *columns,
        _count("sample_count"),  # snapshots folded in
        sqlite_with_rowid=False,
    )


def _golden_columns() -> list[Column[object]]:
    return [
        _count("total"),
        _count("errors"),
        *(_count(f"status_{name}") for name in STATUS_CLASSES),
        *_histogram_columns(),
        # Histograms of other bound sets met in the same span: {"<bounds_id>": packed}.
        Column("other_buckets", ABSENT_JSON, nullable=True),
        # Derived at each fold, for people and dashboards that read the table; null is no data.
        Column("availability", Float, nullable=True),
        Column("p50_ms", Float, nullable=True),
        Column("p95_ms", Float, nullable=True),
        Column("p99_ms", Float, nullable=True),
        Column("avg_ms", Float, nullable=True),
        Column("saturated", Boolean, nullable=False),
        Column("rps", Float, nullable=False),
    ]


def _service_rolled(name: str) -> Table:
    return _rolled(
        name,
        "service_id",
        *_golden_columns(),
        _count("tls_requests"),
        _count("tls_total"),
        Column("mtls_percent", Float, nullable=True),
    )


def _edge_rolled(name: str) -> Table:
    return _rolled(
        name,
        "edge_id",
        _count("requests"),
        _count("failures"),
        Column("latency_sum", Float, nullable=False),
        _count("latency_count"),
    )


def _metrics_rolled(name: str) -> Table:
    return _rolled(
        name,
        "ingress_id",
        *_golden_columns(),
        Column("methods", ABSENT_JSON, nullable=True),  # {"GET": [count, errors]}
    )


service_5m = _service_rolled("slo_service_5m")
service_hourly = _service_rolled("slo_service_hourly")
service_daily = _service_rolled("slo_service_daily")
edge_5m = _edge_rolled("slo_edge_5m")
edge_hourly = _edge_rolled("slo_edge_hourly")
edge_daily = _edge_rolled("slo_edge_daily")
metrics_5m = _metrics_rolled("slo_metrics_5m")
metrics_hourly = _metrics_rolled("slo_metrics_hourly")
metrics_daily = _metrics_rolled("slo_metrics_daily")

SERVICE_ROLLED: Final[dict[int, Table]] = {
    300: service_5m,
    3600: service_hourly,
    86400: service_daily,
}
EDGE_ROLLED: Final[dict[int, Table]] = {300: edge_5m, 3600: edge_hourly, 86400: edge_daily}
METRICS_ROLLED: Final[dict[int, Table]] = {
    300: metrics_5m,
    3600: metrics_hourly,
    86400: metrics_daily,
}

coverage = Table(
    "slo_rollup_coverage",
    metadata,
    Column("cluster_id", ID, primary_key=True, autoincrement=False),
    Column("span_s", Integer, primary_key=True, autoincrement=False),
    Column("start_s", BigInteger, primary_key=True, autoincrement=False),
    _count("covered_ms"),  # length of the union of the folded intervals
    _count("snapshot_count"),
    sqlite_with_rowid=False,
)

# --- what people set and what the master concludes -------------------------------------------

route_mapping = Table(
    "slo_route_mapping",
    metadata,
    Column("cluster_id", ID, ForeignKey(clusters.c.id), primary_key=True, autoincrement=False),
    Column("domain", String, primary_key=True),
    Column("path_prefix", String, primary_key=True),
    Column("service_key", String, primary_key=True),
    Column("service_name", String, nullable=False),
    Column("service_port", String, nullable=False),
    Column("tls", Boolean, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
)

targets = Table(
    "slo_targets",
    metadata,
    Column("cluster_id", ID, ForeignKey(clusters.c.id), primary_key=True, autoincrement=False),
    Column("target_type", String, primary_key=True),  # ingress | service
    Column("target_key", String, primary_key=True),  # service key | namespace/name
    Column("availability_percent", Float, nullable=False),
    Column("p95_ms", Float, nullable=False),
    Column("window_days", Integer, nullable=False),
    Column("events_min", Integer, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

status_history = Table(
    "slo_status_history",
    metadata,
    _id(),
    Column("cluster_id", ID, ForeignKey(clusters.c.id), nullable=False),
    Column("target_type", String, nullable=False),
    Column("target_key", String, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("previous", String, nullable=True),
    Column("status", String, nullable=False),
    Column("availability", Float, nullable=True),
    Column("p95_ms", Float, nullable=True),
    Index("slo_status_history_by_target", "cluster_id", "target_type", "target_key", "at_ms"),
    Index("slo_status_history_by_time", "cluster_id", "at_ms"),
)

alerts = Table(
    "slo_alerts",
    metadata,
    _id(),
    Column("cluster_id", ID, ForeignKey(clusters.c.id), nullable=False),
    Column("target_type", String, nullable=False),
    Column("target_key", String, nullable=False),
    Column("rule", String, nullable=False),  # page_1h_5m
    Column("severity", String, nullable=False),
    Column("state", String, nullable=False),  # pending | firing | resolved
    Column("pending_ms", BigInteger, nullable=False),
    Column("fired_ms", BigInteger, nullable=True),
    Column("resolved_ms", BigInteger, nullable=True),
    Column("burn_long", Float, nullable=False),
    Column("burn_short", Float, nullable=False),
    # The state that the webhook's receiver has acknowledged; the outbox is where they differ.
    Column("notified_state", String, nullable=True),
    Index("slo_alerts_by_state", "cluster_id", "state"),
)

fault_windows = Table(
    "slo_fault_windows",
    metadata,
    _id(),
    Column("cluster_id", ID, ForeignKey(clusters.c.id), nullable=False),
    Column("policy", String, nullable=False),
    Column("kind", String, nullable=False),  # abort | delay
    Column("target_type", String, nullable=False),
    Column("target_key", String, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=True),  # null: still active
    Index("slo_fault_windows_by_start", "cluster_id", "start_ms"),
)
