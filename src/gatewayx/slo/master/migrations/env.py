"""Runs the migrations on the connection that `Store.migrate` hands over."""

from __future__ import annotations

from alembic import context

from gatewayx.slo.master.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # The gateway's own store may live in the same database and keeps its own version.
    version_table="slo_alembic_version",
)
context.run_migrations()
