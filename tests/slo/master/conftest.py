"""Masters on real databases, a clock that tests move, and snapshots built by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatewayx.slo.master.master import Master
from gatewayx.slo.master.settings import MasterSettings
from gatewayx.slo.master.store import Store
from tests.slo.master.snapshots import START_MS, FakeClock
from tests.support.postgresql import database, postgresql

__all__ = ["postgresql"]

MasterFactory = Callable[..., Master]


def _migrate(url: str) -> None:
    store = Store(url)
    store.migrate()
    store.close()


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql: str) -> Iterator[str]:
    """The name of a database to copy: migrating one for each test would take minutes."""
    with database(postgresql, "migrated", "template0") as url:
        _migrate(url)
        yield "migrated"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file to copy."""
    path = tmp_path_factory.mktemp("migrated") / "slo.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A fresh SQLite database."""
    shutil.copy(migrated_sqlite, tmp_path / "slo.db")
    return f"sqlite:///{tmp_path / 'slo.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh database of each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    template = request.getfixturevalue("migrated_postgresql")
    with database(request.getfixturevalue("postgresql"), _name(request), template) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with database(request.getfixturevalue("postgresql"), _name(request), "template0") as url:
        yield url


def _name(request: pytest.FixtureRequest) -> str:
    return f"t{abs(hash(request.node.nodeid)):x}"


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until a test moves it."""
    return FakeClock(START_MS)


@pytest.fixture
def open_master(clock: FakeClock) -> Iterator[MasterFactory]:
    """Opens masters and closes them at the end."""
    opened: list[Master] = []

    def factory(url: str, **settings: object) -> Master:
        master = Master(MasterSettings(store_url=url, **settings), clock=clock)
        opened.append(master)
        return master

    yield factory
    for master in opened:
        master.close()


@pytest.fixture
def master(open_master: MasterFactory, store_url: str) -> Master:
    """A master on each kind of database."""
    return open_master(store_url)


@pytest.fixture
def sqlite_master(open_master: MasterFactory, sqlite_url: str) -> Master:
    """A master on SQLite, for what does not depend on the database."""
    return open_master(sqlite_url)
