"""Whatever is folded when: every range answers with the sum of the snapshots in it, once each."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from gatewayx.slo.master import tables
from gatewayx.slo.master.figures import Figures
from gatewayx.slo.master.histogram import quantile
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.plan import TimeRange, plan_range, union_ms
from gatewayx.slo.snapshot import SLOSnapshot
from tests.slo.master.conftest import MasterFactory
from tests.slo.master.snapshots import (
    START_MS,
    FakeClock,
    Poster,
    dump,
    edge,
    ingress,
    service,
    snapshot,
)

DAY_MS = 86_400_000


def random_snapshot(chance: random.Random, seq: int, end_ms: int) -> SLOSnapshot:
    """Three services, two edges, an ingress key, each there or not."""
    services = []
    for name in ("a/one", "a/two", "b/three"):
        counts = [chance.randrange(20) for _ in range(5)]
        bounds = ("10", "50", "100", "500", "+Inf")
        if chance.random() < 0.1:  # an agent that has changed its bounds
            bounds, counts = ("5", "25", "+Inf"), counts[:3]
        total, failed = sum(counts), chance.randrange(5)
        if chance.random() < 0.8:
            services.append(
                service(name, total, failed, latency=counts, latency_sum=total * 7, bounds=bounds)
            )
    edges = [edge("a/one", "a/two", chance.randrange(1, 30), 1, 12.5)]
    entering = [ingress("k", [("200", "GET", chance.randrange(9)), ("5xx", "PUT", 1)])]
    agent = chance.choice(("agent-1", "agent-2"))
    return snapshot(seq, end_ms, services=services, edges=edges, ingress=entering, agent=agent)


@dataclass
class Oracle:
    """The sums of a range, the slow way."""

    stored: Sequence[SLOSnapshot]

    def within(self, time_range: TimeRange) -> list[SLOSnapshot]:
        return [
            one
            for one in self.stored
            if time_range.from_ms < int(one.interval_end.timestamp() * 1000) <= time_range.to_ms
        ]

    def services(self, time_range: TimeRange) -> dict[str, tuple[int, int, dict[str, int]]]:
        sums: dict[str, tuple[int, int, dict[str, int]]] = {}
        for one in self.within(time_range):
            for record in one.services:
                total, errors, buckets = sums.get(record.name, (0, 0, {}))
                merged = dict(buckets)
                for le, count in record.latency_buckets.items() if record.latency_count else ():
                    key = f"{len(record.latency_buckets)}:{le}"
                    merged[key] = merged.get(key, 0) + count
                failed = sum(r.delta for r in record.requests if r.classification == "failure")
                sums[record.name] = (total + record.total_request_delta, errors + failed, merged)
        return sums


def answered(master: Master, time_range: TimeRange) -> dict[str, tuple[int, int, dict[str, int]]]:
    """The same sums, read through a plan."""
    with master.readings.open("default", time_range, aligned=False) as reading:
        found = reading.reader.services(reading.conn, reading.plan)
        answers = {}
        for identity, figures in found.items():
            buckets = {}
            for bounds_id, counts in figures.histograms.items():
                keys = reading.names.bound_set(reading.conn, bounds_id).keys
                buckets |= {f"{len(keys)}:{k}": n for k, n in zip(keys, counts, strict=True)}
            name = reading.cluster.services.key(reading.conn, identity)[1]
            answers[name] = (figures.total, figures.errors, buckets)
        return answers


@pytest.mark.parametrize("seed", range(3))
def test_every_range_is_covered_exactly_once(
    open_master: MasterFactory, sqlite_url: str, seed: int
) -> None:
    """Late, unordered snapshots of two agents over two days, folded at random moments."""
    chance = random.Random(seed)
    master = open_master(sqlite_url, limits={"late_max_s": 2 * 86400})
    moments = [START_MS - chance.randrange(DAY_MS + DAY_MS // 2) for _ in range(60)]
    moments += [START_MS - chance.randrange(4) * 300_000 for _ in range(15)]  # on the edges
    stored = []
    for seq, end_ms in enumerate(moments, 1):
        one = random_snapshot(chance, seq, end_ms)
        master.receive_json(one.to_json())
        stored.append(one)
        if chance.random() < 0.15:
            master.roll_up()
    oracle = Oracle(stored)
    everything = TimeRange(START_MS - 2 * DAY_MS, START_MS)
    ranges = [everything]
    for _ in range(10):
        ends = sorted(START_MS - chance.randrange(2 * DAY_MS) for _ in range(2))
        if chance.random() < 0.5:
            ends = [end // 300_000 * 300_000 for end in ends]
        if ends[0] < ends[1]:
            ranges.append(TimeRange(*ends))
    for time_range in ranges:
        assert answered(master, time_range) == oracle.services(time_range), time_range
    master.roll_up()
    assert answered(master, everything) == oracle.services(everything)


def test_an_hour_holds_what_the_contract_asks_for(master: Master, clock: FakeClock) -> None:
    poster = Poster(master, clock)
    for _ in range(8):
        poster.post(
            services=[service("a/one", 95, 5, latency=(60, 30, 5, 4, 1), latency_sum=3000, tls=50)],
            ingress=[ingress("k", [("200", "GET", 30), ("404", "GET", 6), ("502", "POST", 4)])],
        )
    master.roll_up()
    with master.store.read() as conn:
        (row,) = conn.execute(select(tables.service_hourly)).mappings()
        (entry,) = conn.execute(select(tables.metrics_hourly)).mappings()
    assert row["start_s"] == START_MS // 1000
    assert (row["total"], row["errors"], row["sample_count"]) == (800, 40, 8)
    assert row["availability"] == pytest.approx(95.0)
    assert row["rps"] == pytest.approx(800 / 120)
    assert row["mtls_percent"] == pytest.approx(50.0)
    assert row["avg_ms"] == pytest.approx(30.0)
    bounds, cumulative = (10.0, 50.0, 100.0, 500.0, math.inf), [480, 720, 760, 792, 800]
    assert row["buckets"] == [0, *cumulative]
    for name, q in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)):
        assert row[name] == quantile(q, bounds, cumulative).value_ms
    assert (row["status_2xx"], row["status_5xx"]) == (760, 40)
    assert entry["methods"] == {"GET": [288, 0], "POST": [32, 32]}
    assert entry["p95_ms"] is None
    assert entry["errors"] == 32


def test_a_late_snapshot_amends_its_hour(master: Master, clock: FakeClock) -> None:
    end_ms = START_MS - 7_200_000
    for seq in (1, 2):
        late = snapshot(
            seq,
            end_ms + seq * 15_000,
            services=[service("a/one", 10 * seq)],
            edges=[edge("a/one", "a/two", 4)],
        )
        master.receive_json(late.to_json())
        master.roll_up()
    with master.store.read() as conn:
        totals = conn.execute(
            select(tables.service_hourly.c.total, tables.service_hourly.c.rps)
        ).all()
        (edges,) = conn.scalars(select(tables.edge_daily.c.requests))
    assert [tuple(row) for row in totals] == [(30, 1.0)]
    assert edges == 8


def test_a_late_snapshot_reaches_sums_that_were_kept(
    sqlite_master: Master, clock: FakeClock
) -> None:
    """Asked before and after: what is remembered of settled hours must not hide late news."""
    day = TimeRange(START_MS - DAY_MS, START_MS)
    for seq, hours_ago in enumerate((20, 19, 5, 1, 19, 5), 1):
        late = snapshot(
            seq,
            START_MS - hours_ago * 3_600_000,
            services=[service("a/one", 10)],
            edges=[edge("a/one", "a/two", 3)],
        )
        sqlite_master.receive_json(late.to_json())
        sqlite_master.roll_up()
        for _ in range(2):
            with sqlite_master.readings.open("default", day) as reading:
                (figures,) = reading.reader.services(reading.conn, reading.plan).values()
                (calls,) = reading.reader.edges(reading.conn, reading.plan).values()
            assert (figures.total, calls.requests) == (10 * seq, 3 * seq)


def test_folding_again_changes_nothing(master: Master, clock: FakeClock) -> None:
    Poster(master, clock).post(services=[service("a/one", 10)])
    master.roll_up()
    before = dump(master)
    master.roll_up()
    assert dump(master) == before


def test_a_fold_that_dies_changes_nothing(
    master: Master, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poster(master, clock).post(
        services=[service("a/one", 10)], ingress=[ingress("k", [("200", "GET", 1)])]
    )
    before = dump(master)
    upsert = master.store.upsert

    def fail_on_ingress(conn: object, table: object, rows: object) -> None:
        if table is tables.metrics_5m:
            raise OSError("disk full")
        upsert(conn, table, rows)

    with monkeypatch.context() as patch:
        patch.setattr(master.store, "upsert", fail_on_ingress)
        with pytest.raises(OSError, match="disk full"):
            master.roll_up()
    assert dump(master) == before


def test_only_equal_bounds_are_merged(master: Master, clock: FakeClock) -> None:
    poster = Poster(master, clock)
    old, new = ("10", "50", "+Inf"), ("20", "80", "+Inf")
    poster.post(services=[service("a/one", 9, latency=(3, 3, 3), bounds=old)])
    poster.post(services=[service("a/one", 30, latency=(10, 10, 10), bounds=new)])
    poster.post(services=[service("a/one", 5)])
    for _ in range(2):
        with master.readings.open("default", TimeRange(START_MS, clock.now_ms)) as reading:
            (figures,) = reading.reader.services(reading.conn, reading.plan).values()
        assert figures.total == 44
        assert sorted(figures.histograms.values()) == [[3, 6, 9], [10, 20, 30]]
        assert figures.main_histogram() == (2, [10, 20, 30])
        master.roll_up()


def test_overlapping_agents_cover_time_once() -> None:
    assert union_ms([(0, 10), (5, 15), (20, 30), (21, 22)]) == 25
    assert union_ms([]) == 0


def test_coverage_counts_observed_time_only(master: Master, clock: FakeClock) -> None:
    for agent in ("agent-1", "agent-2"):  # both see the same minute
        for seq in range(1, 5):
            one = snapshot(seq, START_MS + seq * 15_000, agent=agent)
            clock.now_ms = max(clock.now_ms, START_MS + seq * 15_000)
            master.receive_json(one.to_json())
            if seq % 2:
                master.roll_up()
    with master.store.read() as conn:
        plan = plan_range(conn, 1, TimeRange(START_MS - 3_600_000, clock.now_ms))
    # Raw and rolled snapshots of two agents may count a little twice, never less than once.
    assert 60 <= plan.covered_s <= 120
    master.roll_up()
    with master.store.read() as conn:
        plan = plan_range(conn, 1, TimeRange(START_MS - 3_600_000, clock.now_ms))
    assert plan.covered_s == 60


def test_figures_without_requests_have_no_ratios() -> None:
    empty = Figures()
    assert empty.availability is None
    assert empty.error_rate is None
    assert empty.avg_ms is None
    assert empty.mtls_percent is None
