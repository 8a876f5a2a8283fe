"""The agent against real servers: health, faults on both sides, backoff, its own metrics."""

import asyncio
import json
import random
import sqlite3
import threading
import zlib
from datetime import UTC, datetime

import httpx
import pytest

from gatewayx.slo.agent import (
    Agent,
    Answer,
    CollectorSource,
    LocalSink,
    LocalSource,
    MasterSink,
    ScrapeError,
    Verdict,
    run,
)
from gatewayx.slo.agent.backoff import Backoff
from gatewayx.slo.agent.journal import Journal
from gatewayx.slo.agent.routes import FixedRoutes
from gatewayx.slo.snapshot import Route, SLOSnapshot
from tests.slo.agent.servers import RecordingMaster, Reply, Server, eventually, unused_port

ROUTE = Route(domain="a.com", path_prefix="/", service_key="p", service_name="p", service_port="80")


def text(value):
    return b'gateway_requests_total{proxy="p",status="200"} %d\n' % value


class Collector:
    """A collector whose counter stands where the test puts it."""

    def __init__(self):
        self.value = 0
        self.healthy = True
        self.reply = None

    def answer(self, request):
        if request.path == "/health":
            return Reply(200 if self.healthy else 503)
        return self.reply or Reply(200, text(self.value))


@pytest.fixture
def collector():
    return Collector()


@pytest.fixture
def master():
    return RecordingMaster()


class Bench:
    """One agent between a collector and a master, all real, stepped by hand."""

    def __init__(self, config, client, collector, master, collector_server, master_server):
        self.collector, self.master, self.master_server = collector, master, master_server
        self.now = 1_700_000_000.0
        self.journal = Journal(config.state_dir, config.agent_name, config.buffer_size_max)
        self.agent = Agent(
            config,
            self.journal,
            CollectorSource(
                client,
                f"{collector_server.url}/metrics",
                f"{collector_server.url}/health",
                timeout_s=config.scrape_timeout,
                size_max_bytes=config.scrape_size_max,
            ),
            MasterSink(client, master_server.url, "secret", timeout_s=config.send_timeout),
            [FixedRoutes(lambda: [ROUTE])],
            clock=lambda: self.now,
        )

    async def scrape(self, value=None, after_s=15.0):
        self.now += after_s
        if value is not None:
            self.collector.value = value
        return await self.agent.scrape_once()

    def metric(self, name, **labels):
        return self.agent.metrics.registry.get_sample_value(f"slo_agent_{name}", labels) or 0


@pytest.fixture
async def bench(config, collector, master):
    made = config(scrape_timeout=1.0, scrape_size_max=4096, send_timeout=1.0)
    with Server(collector.answer) as collector_server, Server(master.answer) as master_server:
        async with httpx.AsyncClient(trust_env=False) as client:
            bench = Bench(made, client, collector, master, collector_server, master_server)
            yield bench
            bench.journal.close()


async def test_a_snapshot_says_what_happened_and_when(bench):
    assert await bench.scrape(100)
    assert await bench.scrape(107)
    assert await bench.agent.send_all()
    baseline, second = sorted(bench.master.stored.values(), key=lambda each: each["seq"])
    assert baseline["ingress"] == []
    assert baseline["interval_start"] == baseline["interval_end"]
    read = SLOSnapshot.from_json(json.dumps(second))
    assert (read.cluster_id, read.agent_id, read.seq) == ("c1", bench.journal.agent_id, 2)
    assert read.interval_start == datetime.fromtimestamp(bench.now - 15, UTC)
    assert read.interval_end == read.timestamp == datetime.fromtimestamp(bench.now, UTC)
    assert [(each.service_key, each.requests[0].delta) for each in read.ingress] == [("p", 7)]
    assert read.routes == (ROUTE,)
    (first, _) = bench.master_server.requests
    assert (first.path, first.headers["Authorization"]) == (
        "/api/v2/slo/snapshots",
        "Bearer secret",
    )


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(503), "status"),
        (Reply(302, headers={"Location": "/other"}), "status"),
        (Reply(200, text(999) * 200), "oversized"),
        (Reply(200, text(999) * 3, cut=60), "broken_off"),
        (Reply(200, b"no gzip at all", {"Content-Encoding": "gzip"}), "broken_off"),
        (Reply(200, zlib.compress(text(9) * 9999), {"Content-Encoding": "deflate"}), "oversized"),
        (Reply(200, text(999)[:-1]), "truncated"),
        (Reply(200, b""), "empty"),
    ],
)
async def test_a_bad_answer_costs_nothing(bench, reply, reason):
    assert await bench.scrape(100)
    bench.collector.reply = reply
    assert not await bench.scrape()
    assert bench.metric("scrapes_total", result=reason) == 1
    assert bench.metric("collector_up") == 0
    bench.collector.reply = None
    assert await bench.scrape(130)
    await bench.agent.send_all()
    assert bench.master.total() == 30
    assert bench.metric("collector_up") == 1


async def test_a_collector_that_is_not_healthy_is_not_scraped(bench):
    bench.collector.healthy = False
    assert not await bench.scrape(5)
    assert bench.metric("scrapes_total", result="unhealthy") == 1
    assert bench.journal.last_values().at is None


async def test_a_collector_that_does_not_answer_is_a_timeout():
    released = threading.Event()

    def hang(_):
        released.wait()
        return Reply()

    with Server(hang) as server:
        async with httpx.AsyncClient(trust_env=False) as client:
            source = CollectorSource(client, server.url, None, timeout_s=0.05, size_max_bytes=99)
            with pytest.raises(ScrapeError) as failed:
                await source.scrape()
        released.set()
    assert failed.value.reason == "timeout"


async def test_a_source_that_asks_for_a_token_gets_it(config, master):
    def answer(request):
        return (
            Reply(200, text(1))
            if request.headers.get("Authorization") == "Bearer m"
            else Reply(401)
        )

    with Server(answer) as source_server, Server(master.answer) as master_server:
        made = config(
            otel_metrics_url=source_server.url, metrics_token="m", master_url=master_server.url
        )
        working = asyncio.create_task(run(made))
        await eventually(lambda: master.stored)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working


@pytest.mark.parametrize("path", ["/metrics", "/health"])
async def test_a_collector_that_is_gone_is_said_so(path):
    async with httpx.AsyncClient(trust_env=False) as client:
        health = "http://127.0.0.1:1/" if path == "/health" else None
        source = CollectorSource(
            client, "http://127.0.0.1:1/", health, timeout_s=5, size_max_bytes=99
        )
        with pytest.raises(ScrapeError) as failed:
            await source.scrape()
    assert failed.value.reason == ("unhealthy" if health else "unreachable")


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_a_master_that_is_away_gets_everything_later(bench, status):
    bench.master.failing = Reply(status, headers={"Retry-After": "7"})
    for value in (100, 110, 125):
        await bench.scrape(value)
        assert await bench.agent.send_once() == 7.0
    assert bench.metric("buffer_snapshots") == 3
    assert bench.metric("master_up") == 0
    bench.master.failing = None
    assert await bench.agent.send_all()
    assert bench.master.total() == 25
    assert bench.metric("buffer_snapshots") == bench.metric("buffer_bytes") == 0
    assert bench.metric("master_up") == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_snapshot_refused_for_good_does_not_block_the_rest(bench, status):
    await bench.scrape(100)
    bench.master.failing = Reply(status, b"no")
    assert await bench.agent.send_once() is None
    bench.master.failing = None
    await bench.scrape(103)
    assert await bench.agent.send_all()
    assert bench.master.total() == 3
    assert bench.metric("sends_total", verdict="refused") == 1


async def test_a_master_that_knows_the_number_is_an_acknowledgement(bench):
    await bench.scrape(100)
    bench.master.failing = Reply(409)
    assert await bench.agent.send_once() is None
    assert bench.journal.buffered_count == 0


async def test_a_lost_answer_means_the_same_snapshot_again(bench):
    lost = []

    def lose_the_first(request):
        reply = bench.master.answer(request)
        if not lost:
            lost.append(request)
            return Reply(200, b"x" * 10, cut=0)
        return reply

    bench.master_server.answer = lose_the_first
    await bench.scrape(100)
    await bench.scrape(105)
    assert await bench.agent.send_once() == 0.0
    assert await bench.agent.send_all()
    assert (bench.master.repeats, bench.master.total()) == (1, 5)


async def test_a_full_disk_costs_nothing(bench, tmp_path):
    await bench.scrape(100)
    other = sqlite3.connect(tmp_path / "state" / "agent.db")
    other.execute(
        "CREATE TRIGGER full BEFORE INSERT ON buffer BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    assert not await bench.scrape(110)
    assert bench.metric("journal_errors_total") == 1
    other.execute("DROP TRIGGER full")
    other.close()
    assert await bench.scrape(120)
    await bench.agent.send_all()
    assert bench.master.total() == 20


async def test_a_clock_that_steps_back_keeps_intervals_in_order(bench):
    await bench.scrape(100)
    assert await bench.scrape(105, after_s=-3600)
    await bench.agent.send_all()
    for stored in bench.master.stored.values():
        assert SLOSnapshot.from_json(json.dumps(stored))
    assert bench.master.total() == 5


async def test_bad_lines_are_in_the_metrics(bench):
    await bench.scrape(1)
    bench.collector.reply = Reply(
        200, text(2) + b'gateway_requests_total{proxy="q"} NaN\ngateway_requests_total{ 5\n'
    )
    assert await bench.scrape()
    assert bench.metric("bad_lines_total") == 2
    assert bench.metric("series_skipped_total", reason="unusable") == 1


async def test_it_runs_by_itself_and_serves_its_metrics(config, collector, master):
    with Server(collector.answer) as collector_server, Server(master.answer) as master_server:
        made = config(
            otel_metrics_url=f"{collector_server.url}/metrics",
            otel_health_url=f"{collector_server.url}/health",
            master_url=master_server.url,
            interval=0.02,
            metrics_address=f"127.0.0.1:{unused_port()}",
        )
        working = asyncio.create_task(run(made))
        await eventually(lambda: master.stored)
        collector.value = 50
        collector.healthy, master.failing = False, Reply(503)
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://{made.metrics_address}/metrics"
            while "slo_agent_collector_up 0.0" not in (await client.get(url)).text:
                continue
            collector.healthy, master.failing = True, None
            while "slo_agent_collector_up 1.0" not in (shown := (await client.get(url)).text):
                continue
        await eventually(lambda: master.total() == 50)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    assert 'slo_agent_scrapes_total{result="unhealthy"}' in shown


async def test_a_process_can_be_its_own_source_and_master(config):
    value, taken, answers = [100], [], [OSError("locked"), ValueError("no"), None]

    def ingest(body):
        problem = answers.pop(0) if answers else None
        if problem is not None:
            raise problem
        taken.append(SLOSnapshot.from_json(body))

    made = config()
    with Journal(made.state_dir, "own", 10_000) as journal:
        agent = Agent(made, journal, LocalSource(lambda: text(value[0])), LocalSink(ingest))
        await agent.scrape_once()
        value[0] = 108
        await agent.scrape_once()
        assert await agent.send_once() == 0.0
        assert await agent.send_once() is None
        assert await agent.send_all()
    assert [each.ingress[0].requests[0].delta for each in taken] == [8]


async def test_a_source_with_a_bug_does_not_end_the_agent(config):
    def broken():
        raise RuntimeError("a bug")

    made = config()
    with Journal(made.state_dir, "own", 10_000) as journal:
        agent = Agent(made, journal, LocalSource(broken), LocalSink(print))
        assert not await agent.scrape_once()
        assert agent.metrics.registry.get_sample_value(
            "slo_agent_scrapes_total", {"result": "internal"}
        )


def test_backoff_grows_to_its_ceiling_and_starts_over():
    backoff = Backoff(1.0, 60.0, random.Random(1))
    waits = [backoff.fail() for _ in range(2000)]
    assert all(1.0 <= wait <= 60.0 for wait in waits)
    assert waits[0] <= 2.0
    assert max(waits[10:]) > 50.0
    backoff.succeed()
    assert backoff.fail() <= 2.0


def test_answers_are_plain_records():
    assert Answer(Verdict.ACKNOWLEDGED) == Answer(Verdict.ACKNOWLEDGED, "", None)
