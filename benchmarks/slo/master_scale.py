"""The master at its largest size: ingest, folding, storage, topology.

    python benchmarks/slo/master_scale.py [--snapshots 80] [--store URL] [--keep]

1,000 services, 5,000 edges and 500 ingress keys report every 15 s. A stretch of real snapshots is
ingested and folded, which gives the times and, scaled to 5,760 snapshots, the size of a day. For
the ranges the rolled-up rows are then copied to the hours and days before, which leaves exactly
the rows that a month of reporting would.

Targets: a snapshot under 500 ms; 24 h under 2 GiB; topology over 24 h under 300 ms and over 30 d
under 1 s. Ends with status 1 when one is missed.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path

from pydantic_core import to_json
from sqlalchemy import Table, func, literal, select, text

from gatewayx.slo.master import tables
from gatewayx.slo.master.faults import StoredFaultWindows
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.mesh import topology
from gatewayx.slo.master.plan import range_before
from gatewayx.slo.master.settings import MasterSettings
from gatewayx.slo.snapshot import (
    EdgeDelta,
    IngressDelta,
    IngressRequests,
    Route,
    ServiceDelta,
    ServiceRequests,
    SLOSnapshot,
)

SERVICES, EDGES, INGRESS = 1000, 5000, 500
INTERVAL_S = 15
DAY_SNAPSHOTS = 86400 // INTERVAL_S
LE_MS = (1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500)
LE_MS += (1000, 2000, 3000, 4000, 5000, 10000, 20000, 30000, 40000, 50000)
# Late in the day: the hours since midnight cannot be read as a day that is whole yet.
START = datetime(2026, 3, 10, 22, 10, tzinfo=UTC)


class Traffic:
    """Snapshots of a busy cluster: every service, edge and key active in every interval."""

    def __init__(self) -> None:
        self._chance = random.Random(1)
        pairs: set[tuple[int, int]] = set()
        while len(pairs) < EDGES:
            pairs.add((self._chance.randrange(SERVICES), self._chance.randrange(SERVICES)))
        self._pairs = sorted(pairs)
        self._medians = [math.exp(self._chance.uniform(1, 5)) for _ in range(SERVICES)]
        self._spreads = [self._chance.uniform(0.3, 0.9) for _ in range(SERVICES)]

    def snapshot(self, seq: int) -> SLOSnapshot:
        """The snapshot of one interval."""
        end = START + timedelta(seconds=seq * INTERVAL_S)
        return SLOSnapshot(
            cluster_id="default",
            agent_id="bench",
            seq=seq,
            timestamp=end,
            interval_start=end - timedelta(seconds=INTERVAL_S),
            interval_end=end,
            services=tuple(self._service(number) for number in range(SERVICES)),
            edges=tuple(self._edge(*pair) for pair in self._pairs),
            ingress=tuple(self._ingress(number) for number in range(INGRESS)),
            routes=tuple(_route(number) for number in range(INGRESS)),
        )

    def _latency(self, number: int, count: int) -> tuple[dict[str, int], float]:
        counts, total_ms = [0] * (len(LE_MS) + 1), 0.0
        for _ in range(count):
            spread = self._spreads[number]
            sample_ms = self._medians[number] * math.exp(self._chance.gauss(0, spread))
            counts[bisect_left(LE_MS, sample_ms)] += 1
            total_ms += sample_ms
        names = [*map(str, LE_MS), "+Inf"]
        return dict(zip(names, accumulate(counts), strict=True)), float(round(total_ms))

    def _service(self, number: int) -> ServiceDelta:
        total = self._chance.randrange(50, 150)
        failed = self._chance.choice((0, 0, 0, 1, 2))
        buckets, total_ms = self._latency(number, total)
        outcomes = [("200", "success", total - failed), ("500", "failure", failed)]
        return ServiceDelta(
            namespace=f"team-{number % 40}",
            name=f"service-{number}",
            requests=tuple(
                ServiceRequests(status_code=code, classification=outcome, delta=count)
                for code, outcome, count in outcomes
                if count
            ),
            latency_buckets=buckets,
            latency_sum=total_ms,
            latency_count=total,
            tls_request_delta=total,
            total_request_delta=total,
        )

    def _edge(self, source: int, target: int) -> EdgeDelta:
        count = self._chance.randrange(1, 40)
        return EdgeDelta(
            src_ns=f"team-{source % 40}",
            src_name=f"service-{source}",
            dst_ns=f"team-{target % 40}",
            dst_name=f"service-{target}",
            request_delta=count,
            failure_delta=self._chance.choice((0, 0, 0, 1)),
            latency_sum=float(count * self._chance.randrange(5, 200)),
            latency_count=count,
        )

    def _ingress(self, number: int) -> IngressDelta:
        total = self._chance.randrange(50, 150)
        buckets, total_ms = self._latency(number, total)
        parts = [
            ("200", "GET", total - 9),
            ("201", "POST", 5),
            ("404", "GET", 3),
            ("500", "PUT", 1),
        ]
        return IngressDelta(
            service_key=f"team-{number % 40}-service-{number}-80",
            requests=tuple(
                IngressRequests(code=code, method=method, delta=count)
                for code, method, count in parts
            ),
            latency_buckets=buckets,
            latency_sum=total_ms + 0.25,
            latency_count=total,
        )


def _route(number: int) -> Route:
    return Route(
        domain=f"app-{number % 100}.example.com",
        path_prefix=f"/{number}",
        service_key=f"team-{number % 40}-service-{number}-80",
        service_name=f"service-{number}",
        service_port="80",
        tls=True,
    )


class StillClock:
    """The time of the newest snapshot."""

    def __init__(self) -> None:
        self.now_ms = int(START.timestamp()) * 1000

    def __call__(self) -> int:
        return self.now_ms


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call took, by the clock on the wall and by the processor's."""

    wall_ms: float
    cpu_ms: float


def cost(run: Callable[[], object]) -> Cost:
    """Run a call once."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Cost((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000)


def median(costs: Sequence[Cost]) -> Cost:
    """The medians of both clocks, each on its own."""
    wall = statistics.median(one.wall_ms for one in costs)
    return Cost(wall, statistics.median(one.cpu_ms for one in costs))


def size_bytes(master: Master, names: list[str]) -> int:
    """The size of some tables with their indexes."""
    with master.store.read() as conn:
        if master.store.sqlite:
            query = text("SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name = :name")
        else:
            query = text("SELECT pg_total_relation_size(cast(:name AS regclass))")
        return sum(int(conn.execute(query, {"name": name}).scalar_one()) for name in names)


def copy_back(master: Master, span_s: int, count: int) -> None:
    """Give the newest row of every key to `count` spans before it."""
    kinds = (tables.SERVICE_ROLLED, tables.EDGE_ROLLED, tables.METRICS_ROLLED)
    copied: list[Table] = [*(kind[span_s] for kind in kinds), tables.coverage]
    for table in copied:
        with master.store.write() as conn:
            c = table.c
            ours = c.span_s == span_s if table is tables.coverage else c.cluster_id == 1
            newest = conn.execute(select(func.max(c.start_s)).where(ours)).scalar_one()
            names = [column.name for column in c]
            for back in range(count, 0, -1):
                columns = [
                    literal(newest - back * span_s) if name == "start_s" else c[name]
                    for name in names
                ]
                rows = select(*columns).where(ours, c.start_s == newest)
                insert = master.store.insert(table).from_select(names, rows)
                conn.execute(insert.on_conflict_do_nothing())


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--snapshots", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--store", help="an empty database; SQLite in a temporary file by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gatewayx-bench-") as home:
        url = arguments.store or f"sqlite:///{Path(home) / 'slo.db'}"
        clock = StillClock()
        with Master(MasterSettings(store_url=url), clock=clock) as master:
            return measure(master, clock, arguments.snapshots, arguments.repeats)


def measure(master: Master, clock: StillClock, snapshots: int, repeats: int) -> int:
    traffic = Traffic()
    ingested, folded = [], []
    for seq in range(1, snapshots + 1):
        clock.now_ms += INTERVAL_S * 1000
        body = traffic.snapshot(seq).to_json()
        ingested.append(cost(lambda body=body: master.receive_json(body)))
        if seq % 4 == 0:
            folded.append(cost(master.roll_up))
    raw = ["slo_service_raw", "slo_edge_raw", "slo_metrics_raw", "slo_snapshots"]
    raw_bytes = size_bytes(master, raw) * DAY_SNAPSHOTS / snapshots
    fine = [f"slo_{kind}_5m" for kind in ("service", "edge", "metrics")]
    fine_bytes = size_bytes(master, fine) * 288 / math.ceil(snapshots / 20)
    hourly = [f"slo_{kind}_hourly" for kind in ("service", "edge", "metrics")]
    hourly_bytes = size_bytes(master, hourly) * 24 / math.ceil(snapshots / 240)
    day_bytes = raw_bytes + fine_bytes + hourly_bytes
    evaluated = cost(master.evaluate)
    copy_back(master, 3600, 24 * 8)
    copy_back(master, 86400, 31)
    answered = {}
    for name, length_s in (("1h", 3600), ("24h", 86400), ("30d", 30 * 86400)):
        took = [cost(lambda s=length_s: ask(master, clock, s)) for _ in range(repeats)]
        report(f"topology {name}, the first time", took[0])
        answered[name] = median(took)
    mib = 1 << 20
    print(f"snapshot: {len(body) / mib:.2f} MiB of JSON")
    report("ingest", median(ingested))
    report("fold of a minute", median(folded))
    report("evaluate all targets", evaluated)
    print(
        f"24 h: {day_bytes / mib:.0f} MiB (raw {raw_bytes / mib:.0f}, five minutes "
        f"{fine_bytes / mib:.0f}, hours {hourly_bytes / mib:.0f})"
    )
    for name, took in answered.items():
        report(f"topology {name}", took)
    met = (
        median(ingested).wall_ms < 500
        and day_bytes < 2 * 1024 * mib
        and answered["24h"].wall_ms < 300
        and answered["30d"].wall_ms < 1000
    )
    print("every target is met" if met else "a target is missed")
    return 0 if met else 1


def report(what: str, took: Cost) -> None:
    print(f"{what}: median {took.wall_ms:.0f} ms, of which {took.cpu_ms:.0f} ms of CPU")


def ask(master: Master, clock: StillClock, length_s: int) -> None:
    """A topology as the API answers it, serialised; checks that it is whole."""
    with master.readings.open("default", range_before(clock.now_ms, length_s)) as reading:
        answer = topology(reading, StoredFaultWindows())
    assert (len(answer["nodes"]), len(answer["edges"])) == (SERVICES, EDGES)
    to_json(answer)


if __name__ == "__main__":
    sys.exit(main())
