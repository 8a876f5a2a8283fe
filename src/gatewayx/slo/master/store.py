"""The database: engines, transactions, migrations.

SQLite runs in WAL with one writer and many readers; PostgreSQL by URL. Two kinds of transaction:

- `write()` is serialised (a lock in the process; BEGIN IMMEDIATE or an advisory lock in the
  database) and durable when it returns: an acknowledged snapshot survives kill -9 and power loss.
- `read()` sees one state of the database from its first statement to its last, so that rows never
  move from raw to rolled-up between two statements of one answer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any

from alembic import command
from alembic.config import Config
from pydantic_core import from_json, to_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    cast,
    create_engine,
    event,
    text,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url

# Any fixed number will do: it names the master's writer lock in a PostgreSQL database.
_WRITER_LOCK = 0x510_57A7E

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 10000",
    "PRAGMA cache_size = -65536",  # 64 MiB
    "PRAGMA temp_store = MEMORY",
    "PRAGMA journal_size_limit = 67108864",
)


def _compact(value: object) -> str:
    return to_json(value).decode()


class Store:
    """One database of the master."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.sqlite = parsed.get_backend_name() == "sqlite"
        if not self.sqlite and parsed.get_backend_name() != "postgresql":
            raise ValueError(f"{parsed.drivername}: not a store; use sqlite:// or postgresql://")
        self.engine = _sqlite_engine(url) if self.sqlite else _postgresql_engine(parsed)
        self._writer = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state and changes nothing."""
        with self.engine.connect() as conn, conn.begin():
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The one writing transaction; commits at the end, rolls back on an exception."""
        with self._writer, self.engine.connect() as conn:
            if self.sqlite:
                conn = conn.execution_options(gatewayx_write=True)
            else:
                # A later snapshot than the lock's wait, or the reads below would be stale.
                conn = conn.execution_options(isolation_level="READ COMMITTED")
            with conn.begin():
                if not self.sqlite:
                    conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})
                yield conn

    def migrate(self) -> None:
        """Bring the schema to this version; safe to repeat and to run from two processes."""
        with as_file(files(__package__) / "migrations") as scripts, self.write() as conn:
            config = Config()
            config.set_main_option("script_location", str(scripts))
            config.attributes["connection"] = conn
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    # The two dialects spell ON CONFLICT alike and share no type for it.
    def insert(self, table: Table) -> Any:
        """An INSERT that knows ON CONFLICT."""
        return sqlite.insert(table) if self.sqlite else postgresql.insert(table)

    def upsert(self, conn: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
        """Insert rows or replace those with the same primary key."""
        if not rows:
            return
        statement = self.insert(table)
        keys = [column.name for column in table.primary_key]
        replaced = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        conn.execute(
            statement.on_conflict_do_update(index_elements=keys, set_=replaced), list(rows)
        )

    def as_text(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        """A JSON column as the text it is written in."""
        return type_coerce(column, Text) if self.sqlite else cast(column, Text)


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, json_serializer=_compact, json_deserializer=from_json)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # The driver's own BEGIN comes too late for reads; ours is below.
        connection.isolation_level = None
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        write = conn.get_execution_options().get("gatewayx_write", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgresql_engine(url: Any) -> Engine:
    return create_engine(
        url,
        json_serializer=_compact,
        json_deserializer=from_json,
        isolation_level="REPEATABLE READ",
        pool_pre_ping=True,
        connect_args={"options": "-c timezone=utc"},
    )
