"""A SQLite or PostgreSQL database: engines, transactions, migrations.

SQLite runs in WAL with one writer and many readers; PostgreSQL by URL. Two kinds of transaction:

- `write()` is serialised (a lock in the process; BEGIN IMMEDIATE or an advisory lock in the
  database) and durable when it returns: what was acknowledged survives kill -9 and power loss.
- `read()` sees one state of the database from its first statement to its last.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any, ClassVar

from alembic import command
from alembic.config import Config
from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 10000",
    "PRAGMA cache_size = -65536",  # 64 MiB
    "PRAGMA temp_store = MEMORY",
    "PRAGMA journal_size_limit = 67108864",
)


def database_url(url: str) -> URL:
    """Read a URL, and name PostgreSQL's driver. Raises `ValueError` for other databases."""
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"{parsed.drivername}: not a store; use sqlite:// or postgresql://")
    return parsed


class Database:
    """One database and the part of its schema that a package owns.

    Attributes:
        package: Where the folder `migrations` of that part is.
        writer_lock: The number of its writers' advisory lock in PostgreSQL; any fixed one will do.
        sqlite: Whether it is SQLite.
        engine: SQLAlchemy's.
    """

    package: ClassVar[str]
    writer_lock: ClassVar[int]

    def __init__(self, url: str) -> None:
        parsed = database_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(parsed) if self.sqlite else _postgresql_engine(parsed)
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
                    conn.execute(
                        text("SELECT pg_advisory_xact_lock(:key)"), {"key": self.writer_lock}
                    )
                yield conn

    def migrate(self) -> None:
        """Bring the schema to this version; safe to repeat and to run from two processes."""
        with as_file(files(self.package) / "migrations") as scripts, self.write() as conn:
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


def _compact(value: object) -> str:
    return to_json(value).decode()


def _sqlite_engine(url: URL) -> Engine:
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


def _postgresql_engine(url: URL) -> Engine:
    return create_engine(
        url,
        json_serializer=_compact,
        json_deserializer=from_json,
        isolation_level="REPEATABLE READ",
        pool_pre_ping=True,
        connect_args={"options": "-c timezone=utc", "connect_timeout": 5},
    )
