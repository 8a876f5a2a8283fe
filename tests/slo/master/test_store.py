"""The schema is what the tables say, on both databases, and transactions keep their promises."""

from __future__ import annotations

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, inspect, select

from gatewayx.slo.master import tables
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.store import Store

CONTRACT_TABLES = {
    "slo_service_raw",
    "slo_service_hourly",
    "slo_edge_raw",
    "slo_edge_hourly",
    "slo_metrics_raw",
    "slo_metrics_hourly",
    "slo_route_mapping",
    "slo_targets",
    "slo_status_history",
}


def test_migrations_build_what_the_tables_declare(empty_store_url: str) -> None:
    store = Store(empty_store_url)
    store.migrate()
    store.migrate()  # again, as every start does
    with store.read() as conn:
        context = MigrationContext.configure(
            conn, opts={"version_table": "slo_alembic_version", "compare_type": True}
        )
        assert compare_metadata(context, tables.metadata) == []
        assert set(inspect(conn).get_table_names()) >= CONTRACT_TABLES
    store.close()


def test_a_reader_sees_one_state_while_a_writer_commits(master: Master) -> None:
    count = select(func.count()).select_from(tables.agents)
    with master.store.read() as reader:
        before = reader.scalar(count)
        with master.store.write() as writer:
            writer.execute(tables.agents.insert().values(cluster_id=1, name="late"))
        assert reader.scalar(count) == before
    with master.store.read() as reader:
        assert reader.scalar(count) == before + 1


def test_an_exception_leaves_nothing_behind(master: Master) -> None:
    def fail() -> None:
        with master.store.write() as writer:
            writer.execute(tables.agents.insert().values(cluster_id=1, name="never"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with master.store.read() as reader:
        assert reader.scalar(select(func.count()).select_from(tables.agents)) == 0


def test_writers_take_turns(master: Master) -> None:
    """Read, then write what was read plus one: lost updates would show."""
    c = tables.coverage.c

    def add_many() -> None:
        for _ in range(20):
            with master.store.write() as conn:
                now = conn.scalar(select(c.covered_ms)) or 0
                row = {
                    "cluster_id": 1,
                    "span_s": 300,
                    "start_s": 0,
                    "covered_ms": now + 1,
                    "snapshot_count": 0,
                }
                master.store.upsert(conn, tables.coverage, [row])

    threads = [threading.Thread(target=add_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with master.store.read() as conn:
        assert conn.scalar(select(c.covered_ms)) == 80


def test_another_database_is_refused() -> None:
    with pytest.raises(ValueError, match="not a store"):
        Store("mysql://localhost/slo")
