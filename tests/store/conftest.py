"""Stores on real databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatewayx.store import Store
from tests.support.postgresql import database, postgresql

__all__ = ["postgresql"]

KEY = "a-key-for-the-tests-only-0123456789abcdef"
OpenStore = Callable[[], Store]


@pytest.fixture
def postgresql_url(postgresql: str) -> Iterator[str]:
    with database(postgresql, "store", "template0") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/gatewayx.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def open_store(url: str) -> Iterator[OpenStore]:
    """Opens the same store as often as it is asked to."""
    opened: list[Store] = []

    def open_one() -> Store:
        opened.append(Store.open(url, environ={"GATEWAYX_STORE_KEY": KEY}))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store()
