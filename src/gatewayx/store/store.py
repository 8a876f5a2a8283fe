"""The store: one database, its key, and what is kept in it.

Every change raises one number, the revision, in the transaction that makes it; whoever serves from
the store watches that number (`changes.py`). Calls block: a loop makes them in a thread.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from gatewayx.database import Database, database_url
from gatewayx.store.audit import AuditLog
from gatewayx.store.errors import StoreError, StoreUnavailable
from gatewayx.store.key import StoreKey, load_key
from gatewayx.store.policies import Policies
from gatewayx.store.proxies import Proxies
from gatewayx.store.records import StoredProxy
from gatewayx.store.secrets import Secrets
from gatewayx.store.tables import Meta
from gatewayx.store.tokens import Credential, SuperuserRow, Tokens

CHANNEL = "gatewayx_store"
"""Where PostgreSQL tells other nodes of a new revision."""

VERSION_TABLE = "gateway_alembic_version"


@dataclass(frozen=True, slots=True)
class Content:
    """Everything that a gateway serves from, as of one revision.

    Attributes:
        revision: The number that every change raises.
        proxies: By name.
        secrets: Texts by name.
        credentials: Tokens of callers.
        superusers: Tokens of operators.
    """

    revision: int
    proxies: list[StoredProxy] = field(repr=False)
    secrets: dict[str, str] = field(repr=False)
    credentials: list[Credential]
    superusers: dict[str, SuperuserRow]


class Store(Database):
    """One store.

    Attributes:
        key: Seals secrets and digests tokens.
        proxies: Proxies and their history.
        secrets: Named secrets.
        tokens: API tokens.
        policies: Fault policies.
        audit: The audit log.
    """

    package = "gatewayx.store"
    writer_lock = 0x6A7E_57A7

    def __init__(self, url: str, key: StoreKey) -> None:
        super().__init__(url)
        self.key = key
        self.proxies = Proxies(self)
        self.secrets = Secrets(self)
        self.tokens = Tokens(self)
        self.policies = Policies(self)
        self.audit = AuditLog(self)

    @classmethod
    def open(
        cls, url: str, key_file: str | None = None, environ: Mapping[str, str] = os.environ
    ) -> Store:
        """Open a store, made or migrated if need be; a file is copied before it is migrated.

        Raises:
            StoreError: When the URL, the key or the database is unfit.
            StoreUnavailable: When the database does not answer.
        """
        try:
            parsed = database_url(url)
        except Exception as error:  # SQLAlchemy has no one type for a bad URL
            raise StoreError(str(error)) from None
        path = parsed.database if parsed.get_backend_name() == "sqlite" else None
        if path not in (None, "", ":memory:"):
            _make_private(Path(str(path)))
        store = cls(url, load_key(parsed, key_file, environ))
        try:
            store._prepare()
        except BaseException:
            store.close()
            raise
        return store

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """See `Database`. Raises `StoreUnavailable` when the database does not answer."""
        with _told(), super().read() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `Database`. Raises `StoreUnavailable` when the database does not answer."""
        with _told(), super().write() as conn:
            yield conn

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """A `write` that changes what gateways serve from: it raises the revision."""
        with self.write() as conn:
            yield conn
            revision = _revision(conn) + 1
            conn.execute(update(Meta).where(Meta.key == "revision").values(value=str(revision)))
            if not self.sqlite:
                conn.execute(
                    text("SELECT pg_notify(:channel, :revision)"),
                    {"channel": CHANNEL, "revision": str(revision)},
                )

    def revision(self) -> int:
        """The number that every change raises."""
        with self.read() as conn:
            return _revision(conn)

    def credentials(self) -> list[Credential]:
        """Every token that is valid now, for the data path."""
        return self.tokens.credentials()

    def content(self) -> Content:
        """What a gateway serves from. Raises `StoreError` for rows that the key does not open."""
        # The number first: a change in between is then seen once more, not missed.
        return Content(
            self.revision(),
            self.proxies.all(),
            self.secrets.texts(),
            self.credentials(),
            self.tokens.superusers(),
        )

    def _prepare(self) -> None:
        with self.read() as conn:
            found = MigrationContext.configure(
                conn, opts={"version_table": VERSION_TABLE}
            ).get_current_revision()
        wanted = _newest_schema()
        if found != wanted:
            if found is not None and self.sqlite:
                _back_up(str(self.engine.url.database), found)
            try:
                self.migrate()
            except CommandError:
                raise StoreError(
                    f"the store has schema {found}, which this version does not know"
                ) from None
        with self.write() as conn:
            values = {row.key: row.value for row in conn.execute(select(Meta.__table__))}
            if "key_check" not in values:
                sealed = self.key.seal("gatewayx", "key_check")
                conn.execute(insert(Meta).values(key="key_check", value=sealed))
                conn.execute(insert(Meta).values(key="revision", value="0"))
        if "key_check" in values:
            try:
                self.key.open(values["key_check"], "key_check")
            except StoreError:
                raise StoreError("the key is not the one that this store was made with") from None


def _revision(conn: Connection) -> int:
    return int(conn.execute(select(Meta.value).where(Meta.key == "revision")).scalar() or 0)


def _newest_schema() -> str | None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return ScriptDirectory.from_config(config).get_current_head()


def _make_private(path: Path) -> None:
    """Make the file before SQLite does, for its owner only."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"cannot open the store {path}: {error.strerror}") from None


def _back_up(path: str, schema: str) -> None:
    """Copy a SQLite database, whole, to `PATH.schema-VERSION.backup`."""
    backup = Path(f"{path}.schema-{schema}.backup")
    unfinished = Path(f"{backup}.part")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    source, target = sqlite3.connect(path), sqlite3.connect(unfinished)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    shutil.move(unfinished, backup)


@contextmanager
def _told() -> Iterator[None]:
    """Turn a driver's errors into the store's: without statements, parameters or passwords."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(f"the store does not answer: {_first_line(error)}") from None
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable(f"the store does not answer: {_first_line(error)}") from None
        raise


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
