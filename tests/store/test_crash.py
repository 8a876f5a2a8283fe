"""SIGKILL in the middle of writes: what was acknowledged is there, and nothing is broken."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.stored import stored_gateway

WRITES_COUNT = 1000
WRITERS_COUNT = 32
KILL_AFTER_COUNT = 300


def test_a_kill_loses_no_acknowledged_write_and_corrupts_nothing(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    numbers = itertools.count()
    enough = threading.Event()

    with stored_gateway(tmp_path) as gateway:

        def write() -> None:
            for number in numbers:
                if number >= WRITES_COUNT:
                    return
                name = f"p{number}"
                form = {"name": name, "path": f"/{name}", "upstream": "http://127.0.0.1:1"}
                try:
                    status = gateway.ask("POST", "/api/gateway/proxies", form).status
                except OSError:
                    return
                except Exception:
                    # An answer that was cut off by the kill acknowledges nothing.
                    return
                assert status == 201
                acknowledged.add(name)
                if len(acknowledged) >= KILL_AFTER_COUNT:
                    enough.set()

        with ThreadPoolExecutor(WRITERS_COUNT) as pool:
            writers = [pool.submit(write) for _ in range(WRITERS_COUNT)]
            assert enough.wait(90)
            gateway.kill()
            for writer in writers:
                writer.result()
        token = gateway.token

    assert len(acknowledged) >= KILL_AFTER_COUNT
    with sqlite3.connect(tmp_path / "gatewayx.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        torn = (
            "SELECT count(*) FROM gateway_proxies p LEFT JOIN gateway_proxy_revisions r"
            " ON p.name = r.name AND p.version = r.version WHERE r.name IS NULL"
        )
        assert database.execute(torn).fetchone() == (0,)
    database.close()
    with stored_gateway(tmp_path) as again:
        again.token = token
        entries = again.ask("GET", "/api/gateway/proxies").body["proxies"]
        assert acknowledged <= {entry["name"] for entry in entries if entry["in_force"]}
