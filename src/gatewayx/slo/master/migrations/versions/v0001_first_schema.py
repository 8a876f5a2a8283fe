"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite only gives ids to INTEGER keys.
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "slo_bucket_bounds",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("bounds", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("bounds"),
    )
    op.create_table(
        "slo_clusters",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "slo_edge_5m",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("edge_id", ID, autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("sample_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "start_s", "edge_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_edge_daily",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("edge_id", ID, autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("sample_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "start_s", "edge_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_edge_hourly",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("edge_id", ID, autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("sample_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "start_s", "edge_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_edge_raw",
        sa.Column("snapshot_id", ID, autoincrement=False, nullable=False),
        sa.Column("edge_id", ID, autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("snapshot_id", "edge_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_metrics_5m",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ingress_id", ID, autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("status_1xx", sa.BigInteger(), nullable=False),
        sa.Column("status_2xx", sa.BigInteger(), nullable=False),
        sa.Column("status_3xx", sa.BigInteger(), nullable=False),
        sa.Column("status_4xx", sa.BigInteger(), nullable=False),
        sa.Column("status_5xx", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("bounds_id", sa.Integer(), nullable=True),
        sa.Column("buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("other_buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("availability", sa.Float(), nullable=True),
        sa.Column("p50_ms", sa.Float(), nullable=True),
        sa.Column("p95_ms", sa.Float(), nullable=True),
        sa.Column("p99_ms", sa.Float(), nullable=True),
        sa.Column("avg_ms", sa.Float(), nullable=True),
        sa.Column("saturated", sa.Boolean(), nullable=False),
        sa.Column("rps", sa.Float(), nullable=False),
        sa.Column("methods", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("sample_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "start_s", "ingress_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_metrics_daily",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ingress_id", ID, autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("status_1xx", sa.BigInteger(), nullable=False),
        sa.Column("status_2xx", sa.BigInteger(), nullable=False),
        sa.Column("status_3xx", sa.BigInteger(), nullable=False),
        sa.Column("status_4xx", sa.BigInteger(), nullable=False),
        sa.Column("status_5xx", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("bounds_id", sa.Integer(), nullable=True),
        sa.Column("buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("other_buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("availability", sa.Float(), nullable=True),
        sa.Column("p50_ms", sa.Float(), nullable=True),
        sa.Column("p95_ms", sa.Float(), nullable=True),
        sa.Column("p99_ms", sa.Float(), nullable=True),
        sa.Column("avg_ms", sa.Float(), nullable=True),
        sa.Column("saturated", sa.Boolean(), nullable=False),
        sa.Column("rps", sa.Float(), nullable=False),
        sa.Column("methods", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("sample_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "start_s", "ingress_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_metrics_hourly",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ingress_id", ID, autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("status_1xx", sa.BigInteger(), nullable=False),
        sa.Column("status_2xx", sa.BigInteger(), nullable=False),
        sa.Column("status_3xx", sa.BigInteger(), nullable=False),
        sa.Column("status_4xx", sa.BigInteger(), nullable=False),
        sa.Column("status_5xx", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("bounds_id", sa.Integer(), nullable=True),
        sa.Column("buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("other_buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("availability", sa.Float(), nullable=True),
        sa.Column("p50_ms", sa.Float(), nullable=True),
        sa.Column("p95_ms", sa.Float(), nullable=True),
        sa.Column("p99_ms", sa.Float(), nullable=True),
        sa.Column("avg_ms", sa.Float(), nullable=True),
        sa.Column("saturated", sa.Boolean(), nullable=False),
        sa.Column("rps", sa.Float(), nullable=False),
        sa.Column("methods", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("sample_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "start_s", "ingress_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_metrics_raw",
        sa.Column("snapshot_id", ID, autoincrement=False, nullable=False),
        sa.Column("ingress_id", ID, autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("bounds_id", sa.Integer(), nullable=True),
        sa.Column("buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("snapshot_id", "ingress_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_rollup_coverage",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("span_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("covered_ms", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "span_s", "start_s"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_service_5m",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("service_id", ID, autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("status_1xx", sa.BigInteger(), nullable=False),
        sa.Column("status_2xx", sa.BigInteger(), nullable=False),
        sa.Column("status_3xx", sa.BigInteger(), nullable=False),
        sa.Column("status_4xx", sa.BigInteger(), nullable=False),
        sa.Column("status_5xx", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("bounds_id", sa.Integer(), nullable=True),
        sa.Column("buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("other_buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("availability", sa.Float(), nullable=True),
        sa.Column("p50_ms", sa.Float(), nullable=True),
        sa.Column("p95_ms", sa.Float(), nullable=True),
        sa.Column("p99_ms", sa.Float(), nullable=True),
        sa.Column("avg_ms", sa.Float(), nullable=True),
        sa.Column("saturated", sa.Boolean(), nullable=False),
        sa.Column("rps", sa.Float(), nullable=False),
        sa.Column("tls_requests", sa.BigInteger(), nullable=False),
        sa.Column("tls_total", sa.BigInteger(), nullable=False),
        sa.Column("mtls_percent", sa.Float(), nullable=True),
        sa.Column("sample_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "start_s", "service_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_service_daily",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("service_id", ID, autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("status_1xx", sa.BigInteger(), nullable=False),
        sa.Column("status_2xx", sa.BigInteger(), nullable=False),
        sa.Column("status_3xx", sa.BigInteger(), nullable=False),
        sa.Column("status_4xx", sa.BigInteger(), nullable=False),
        sa.Column("status_5xx", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("bounds_id", sa.Integer(), nullable=True),
        sa.Column("buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("other_buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("availability", sa.Float(), nullable=True),
        sa.Column("p50_ms", sa.Float(), nullable=True),
        sa.Column("p95_ms", sa.Float(), nullable=True),
        sa.Column("p99_ms", sa.Float(), nullable=True),
        sa.Column("avg_ms", sa.Float(), nullable=True),
        sa.Column("saturated", sa.Boolean(), nullable=False),
        sa.Column("rps", sa.Float(), nullable=False),
        sa.Column("tls_requests", sa.BigInteger(), nullable=False),
        sa.Column("tls_total", sa.BigInteger(), nullable=False),
        sa.Column("mtls_percent", sa.Float(), nullable=True),
        sa.Column("sample_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "start_s", "service_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_service_hourly",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("start_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("service_id", ID, autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("status_1xx", sa.BigInteger(), nullable=False),
        sa.Column("status_2xx", sa.BigInteger(), nullable=False),
        sa.Column("status_3xx", sa.BigInteger(), nullable=False),
        sa.Column("status_4xx", sa.BigInteger(), nullable=False),
        sa.Column("status_5xx", sa.BigInteger(), nullable=False),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("bounds_id", sa.Integer(), nullable=True),
        sa.Column("buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("other_buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("availability", sa.Float(), nullable=True),
        sa.Column("p50_ms", sa.Float(), nullable=True),
        sa.Column("p95_ms", sa.Float(), nullable=True),
        sa.Column("p99_ms", sa.Float(), nullable=True),
        sa.Column("avg_ms", sa.Float(), nullable=True),
        sa.Column("saturated", sa.Boolean(), nullable=False),
        sa.Column("rps", sa.Float(), nullable=False),
        sa.Column("tls_requests", sa.BigInteger(), nullable=False),
        sa.Column("tls_total", sa.BigInteger(), nullable=False),
        sa.Column("mtls_percent", sa.Float(), nullable=True),
        sa.Column("sample_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "start_s", "service_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_service_raw",
        sa.Column("snapshot_id", ID, autoincrement=False, nullable=False),
        sa.Column("service_id", ID, autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("successes", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("failures", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("latency_sum", sa.Float(), nullable=False),
        sa.Column("latency_count", sa.BigInteger(), nullable=False),
        sa.Column("bounds_id", sa.Integer(), nullable=True),
        sa.Column("buckets", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("tls_requests", sa.BigInteger(), nullable=False),
        sa.Column("tls_total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("snapshot_id", "service_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "slo_agents",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("cluster_id", ID, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["slo_clusters.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("cluster_id", "name"),
    )
    op.create_table(
        "slo_alerts",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("cluster_id", ID, nullable=False),
        sa.Column("target_type", sa.String(), nullable=False),
        sa.Column("target_key", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("pending_ms", sa.BigInteger(), nullable=False),
        sa.Column("fired_ms", sa.BigInteger(), nullable=True),
        sa.Column("resolved_ms", sa.BigInteger(), nullable=True),
        sa.Column("burn_long", sa.Float(), nullable=False),
        sa.Column("burn_short", sa.Float(), nullable=False),
        sa.Column("notified_state", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["slo_clusters.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("slo_alerts_by_state", "slo_alerts", ["cluster_id", "state"], unique=False)
    op.create_table(
        "slo_fault_windows",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("cluster_id", ID, nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("target_type", sa.String(), nullable=False),
        sa.Column("target_key", sa.String(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["slo_clusters.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "slo_fault_windows_by_start", "slo_fault_windows", ["cluster_id", "start_ms"], unique=False
    )
    op.create_table(
        "slo_ingress_keys",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("cluster_id", ID, nullable=False),
        sa.Column("service_key", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["slo_clusters.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("cluster_id", "service_key"),
    )
    op.create_table(
        "slo_route_mapping",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("domain", sa.String(), nullable=False),
        sa.Column("path_prefix", sa.String(), nullable=False),
        sa.Column("service_key", sa.String(), nullable=False),
        sa.Column("service_name", sa.String(), nullable=False),
        sa.Column("service_port", sa.String(), nullable=False),
        sa.Column("tls", sa.Boolean(), nullable=False),
        sa.Column("first_seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["slo_clusters.id"],
        ),
        sa.PrimaryKeyConstraint("cluster_id", "domain", "path_prefix", "service_key"),
    )
    op.create_table(
        "slo_services",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("cluster_id", ID, nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["slo_clusters.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("cluster_id", "namespace", "name"),
    )
    op.create_table(
        "slo_status_history",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("cluster_id", ID, nullable=False),
        sa.Column("target_type", sa.String(), nullable=False),
        sa.Column("target_key", sa.String(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("availability", sa.Float(), nullable=True),
        sa.Column("p95_ms", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["slo_clusters.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "slo_status_history_by_target",
        "slo_status_history",
        ["cluster_id", "target_type", "target_key", "at_ms"],
        unique=False,
    )
    op.create_index(
        "slo_status_history_by_time", "slo_status_history", ["cluster_id", "at_ms"], unique=False
    )
    op.create_table(
        "slo_targets",
        sa.Column("cluster_id", ID, autoincrement=False, nullable=False),
        sa.Column("target_type", sa.String(), nullable=False),
        sa.Column("target_key", sa.String(), nullable=False),
        sa.Column("availability_percent", sa.Float(), nullable=False),
        sa.Column("p95_ms", sa.Float(), nullable=False),
        sa.Column("window_days", sa.Integer(), nullable=False),
        sa.Column("events_min", sa.Integer(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["slo_clusters.id"],
        ),
        sa.PrimaryKeyConstraint("cluster_id", "target_type", "target_key"),
    )
    op.create_table(
        "slo_edges",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("cluster_id", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("target_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["slo_clusters.id"],
        ),
        sa.ForeignKeyConstraint(
            ["source_id"],
            ["slo_services.id"],
        ),
        sa.ForeignKeyConstraint(
            ["target_id"],
            ["slo_services.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("cluster_id", "source_id", "target_id"),
    )
    op.create_table(
        "slo_snapshots",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("cluster_id", ID, nullable=False),
        sa.Column("agent_id", ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("rolled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["agent_id"],
            ["slo_agents.id"],
        ),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["slo_clusters.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("agent_id", "seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("slo_snapshots_by_end", "slo_snapshots", ["cluster_id", "end_ms"], unique=False)
    op.create_index(
        "slo_snapshots_unrolled",
        "slo_snapshots",
        ["id"],
        unique=False,
        sqlite_where=sa.text("rolled = 0"),
        postgresql_where=sa.text("rolled = false"),
    )


def downgrade() -> None:
    op.drop_index(
        "slo_snapshots_unrolled",
        table_name="slo_snapshots",
        sqlite_where=sa.text("rolled = 0"),
        postgresql_where=sa.text("rolled = false"),
    )
    op.drop_index("slo_snapshots_by_end", table_name="slo_snapshots")
    op.drop_table("slo_snapshots")
    op.drop_table("slo_edges")
    op.drop_table("slo_targets")
    op.drop_index("slo_status_history_by_time", table_name="slo_status_history")
    op.drop_index("slo_status_history_by_target", table_name="slo_status_history")
    op.drop_table("slo_status_history")
    op.drop_table("slo_services")
    op.drop_table("slo_route_mapping")
    op.drop_table("slo_ingress_keys")
    op.drop_index("slo_fault_windows_by_start", table_name="slo_fault_windows")
    op.drop_table("slo_fault_windows")
    op.drop_index("slo_alerts_by_state", table_name="slo_alerts")
    op.drop_table("slo_alerts")
    op.drop_table("slo_agents")
    op.drop_table("slo_service_raw")
    op.drop_table("slo_service_hourly")
    op.drop_table("slo_service_daily")
    op.drop_table("slo_service_5m")
    op.drop_table("slo_rollup_coverage")
    op.drop_table("slo_metrics_raw")
    op.drop_table("slo_metrics_hourly")
    op.drop_table("slo_metrics_daily")
    op.drop_table("slo_metrics_5m")
    op.drop_table("slo_edge_raw")
    op.drop_table("slo_edge_hourly")
    op.drop_table("slo_edge_daily")
    op.drop_table("slo_edge_5m")
    op.drop_table("slo_clusters")
    op.drop_table("slo_bucket_bounds")
