"""kill -9 at any moment: every acknowledged snapshot is there, and none counts twice."""

from __future__ import annotations

import multiprocessing
import random
import socket
import threading
import time
from datetime import UTC, datetime

import httpx
from sqlalchemy import func, select

from gatewayx.slo.master import tables
from gatewayx.slo.master.app import serve_master
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.plan import TimeRange
from gatewayx.slo.master.settings import MasterSettings, system_clock
from gatewayx.slo.master.store import Store
from tests.slo.master.snapshots import edge, service, snapshot

SNAPSHOTS = 60
KILLS = 3

# Forked from a process that has imported the master: the test is about kills, not about imports.
_MASTERS = multiprocessing.get_context("forkserver")
_MASTERS.set_forkserver_preload(["gatewayx.slo.master.app"])


def serve(url: str, port: int) -> None:
    """A master that folds all the time, so that kills strike there as well as in ingest."""
    settings = MasterSettings(store_url=url, rollup_interval_s=0.01, evaluation_interval_s=0.05)
    serve_master(settings, "127.0.0.1", port)


class MasterProcess:
    """A master in a process of its own, killed and started again."""

    def __init__(self, url: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._url = url
        self.start()

    def start(self) -> None:
        self._process = _MASTERS.Process(target=serve, args=(self._url, self.port))
        self._process.start()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def post_until_acknowledged(client: httpx.Client, url: str, body: bytes) -> str:
    """What an agent does: the same snapshot again until somebody has taken it."""
    while True:
        try:
            response = client.post(url, content=body)
        except httpx.HTTPError:
            time.sleep(0.02)
            continue
        assert response.is_success, response.text
        return str(response.json()["status"])


def test_no_acknowledged_snapshot_is_lost_or_counted_twice(store_url: str) -> None:
    chance = random.Random(7)
    master = MasterProcess(store_url)
    url = f"http://127.0.0.1:{master.port}/api/v2/slo/snapshots"
    begin_ms = int(datetime.now(UTC).timestamp()) * 1000 - SNAPSHOTS * 15_000
    acknowledged: list[str] = []

    def post_all() -> None:
        with httpx.Client(timeout=5) as client:
            for seq in range(1, SNAPSHOTS + 1):
                body = snapshot(
                    seq,
                    begin_ms + seq * 15_000,
                    services=[service(f"a/s{n}", 9, 1, latency=(9, 1, 0, 0, 0)) for n in range(50)],
                    edges=[edge("a/s0", f"a/s{n}", 3) for n in range(1, 50)],
                )
                acknowledged.append(post_until_acknowledged(client, url, body.to_json()))

    poster = threading.Thread(target=post_all)
    poster.start()
    try:
        for kill in range(1, KILLS + 1):
            # Each time somewhere in the next portion, wherever the master happens to be.
            while len(acknowledged) < kill * SNAPSHOTS // (KILLS + 1) and poster.is_alive():
                time.sleep(0.001)
            time.sleep(chance.random() * 0.05)
            master.kill()
            master.start()
        poster.join()
    finally:
        master.kill()
        poster.join(timeout=1)
    assert len(acknowledged) == SNAPSHOTS
    _check(store_url, begin_ms)


def _check(store_url: str, begin_ms: int) -> None:
    store = Store(store_url)
    with store.read() as conn:
        seqs = conn.scalars(select(tables.snapshots.c.seq).order_by(tables.snapshots.c.seq)).all()
        raw = conn.scalar(select(func.count()).select_from(tables.service_raw))
    store.close()
    assert seqs == list(range(1, SNAPSHOTS + 1))
    assert raw == SNAPSHOTS * 50
    everything = TimeRange(begin_ms - 86_400_000, system_clock())
    with Master(MasterSettings(store_url=store_url)) as survivor:
        for _ in range(2):  # what was folded, and what still waited
            with survivor.readings.open("default", everything) as reading:
                figures = reading.reader.services(reading.conn, reading.plan)
                edges = reading.reader.edges(reading.conn, reading.plan)
            assert {(f.total, f.errors) for f in figures.values()} == {(SNAPSHOTS * 10, SNAPSHOTS)}
            assert {e.requests for e in edges.values()} == {SNAPSHOTS * 3}
            survivor.roll_up()
