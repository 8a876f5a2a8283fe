"""Runs the migrations on the connection that `Database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from gatewayx.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # Service levels may live in the same database and keep their own version.
    version_table="gateway_alembic_version",
)
context.run_migrations()
