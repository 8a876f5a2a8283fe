"""Several gateways on one PostgreSQL, and one whose database goes away."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.store.conftest import KEY
from tests.support.stored import StoredGateway, stored_gateway

PROXIES = "/api/gateway/proxies"
AGREE_SECONDS = 2.0


def within(seconds: float, holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_two_nodes_agree_and_serve_on_without_the_database(
    tmp_path: Path, postgresql: str, postgresql_url: str, request: pytest.FixtureRequest
) -> None:
    def node(name: str) -> StoredGateway:
        folder = tmp_path / name
        folder.mkdir()
        environ = {"GATEWAYX_STORE_KEY": KEY}
        url = postgresql_url.replace("+psycopg", "")
        opened = stored_gateway(folder, store=url, environ=environ)
        gateway = opened.__enter__()
        request.addfinalizer(lambda: opened.__exit__(None, None, None))
        return gateway

    one, two = node("one"), node("two")
    two.token = one.token
    form = {"name": "a", "path": "/a", "upstream": "http://127.0.0.1:1"}
    for number in range(3):
        form["max_concurrent"] = number  # type: ignore[assignment]
        assert one.ask("PUT", f"{PROXIES}/a", form).status in (200, 201)

        def is_there(expected: int = number) -> bool:
            found = two.ask("GET", f"{PROXIES}/a")
            return found.status == 200 and found.body["proxy"]["max_concurrent"] == expected

        within(AGREE_SECONDS, is_there, f"change {number} was not seen")
    assert two.call("/a/")[0] == 502
    assert two.ask("DELETE", f"{PROXIES}/a").status == 204
    within(AGREE_SECONDS, lambda: one.call("/a/")[0] == 404, "the deletion was not seen")
    assert one.ask("PUT", f"{PROXIES}/a", form).status == 201
    within(AGREE_SECONDS, lambda: two.call("/a/")[0] == 502, "the proxy was not seen")

    name = make_url(postgresql_url).database
    engine = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        end = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
        conn.execute(end, {"name": name})
        assert one.call("/a/")[0] == 502
        assert one.ask("GET", "/ready").status == 200
        assert one.ask("GET", f"{PROXIES}/a").status == 200
        refused = one.ask("PUT", f"{PROXIES}/a", {**form, "retry_after": 9})
        assert (refused.status, refused.body["reason"]) == (503, "store_unavailable")
        within(10, lambda: "serving what is known" in one.output(), "nobody was told")
        assert one.ask("POST", "/api/gateway/reload").status == 200
        assert one.call("/a/")[0] == 502
        conn.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    engine.dispose()
    within(10, lambda: "answers again" in two.output(), "it was not found again")
    assert one.ask("PUT", f"{PROXIES}/a", {**form, "path": "/b"}).status == 200
    within(AGREE_SECONDS, lambda: two.call("/b/")[0] == 502, "the change was not seen")
