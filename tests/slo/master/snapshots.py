"""Snapshots built by hand, and a clock to post them by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from sqlalchemy import Connection, select

from gatewayx.slo.master.master import Master
from gatewayx.slo.master.tables import metadata
from gatewayx.slo.snapshot import (
    EdgeDelta,
    IngressDelta,
    IngressRequests,
    Route,
    ServiceDelta,
    ServiceRequests,
    SLOSnapshot,
)

START_MS = int(datetime(2026, 3, 10, 12, 0, tzinfo=UTC).timestamp()) * 1000
"""Noon: a whole hour in the middle of a day."""

BOUNDS = ("10", "50", "100", "500", "+Inf")


class FakeClock:
    """Milliseconds since the epoch, moved by hand."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += int(seconds * 1000)


def moment(at_ms: int) -> datetime:
    """The instant of a number of milliseconds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)


def histogram(counts: Sequence[int], bounds: Sequence[str] = BOUNDS) -> dict[str, int]:
    """Cumulative buckets from counts inside the buckets."""
    return dict(zip(bounds, accumulate(counts), strict=True))


def service(
    name: str = "default/web",
    ok: int = 0,
    failed: int = 0,
    *,
    latency: Sequence[int] = (),
    latency_sum: float = 0.0,
    bounds: Sequence[str] = BOUNDS,
    tls: int = 0,
) -> ServiceDelta:
    """A service with 200s that succeeded and 500s that failed."""
    namespace, _, short = name.partition("/")
    requests = [("200", "success", ok), ("500", "failure", failed)]
    return ServiceDelta(
        namespace=namespace,
        name=short,
        requests=tuple(
            ServiceRequests(status_code=code, classification=outcome, delta=count)
            for code, outcome, count in requests
            if count
        ),
        latency_buckets=histogram(latency, bounds) if latency else {},
        latency_sum=latency_sum,
        latency_count=sum(latency),
        tls_request_delta=tls,
        total_request_delta=ok + failed,
    )


def edge(
    source: str, target: str, requests: int, failures: int = 0, sum_ms: float = 0
) -> EdgeDelta:
    """One call of the graph; every request has a latency."""
    src_ns, _, src_name = source.partition("/")
    dst_ns, _, dst_name = target.partition("/")
    return EdgeDelta(
        src_ns=src_ns,
        src_name=src_name,
        dst_ns=dst_ns,
        dst_name=dst_name,
        request_delta=requests,
        failure_delta=failures,
        latency_sum=sum_ms,
        latency_count=requests,
    )


def ingress(
    key: str,
    requests: Sequence[tuple[str, str, int]],
    *,
    latency: Sequence[int] = (),
    latency_sum: float = 0.0,
) -> IngressDelta:
    """An ingress key; requests are (code, method, count)."""
    return IngressDelta(
        service_key=key,
        requests=tuple(
            IngressRequests(code=code, method=method, delta=count)
            for code, method, count in requests
        ),
        latency_buckets=histogram(latency) if latency else {},
        latency_sum=latency_sum,
        latency_count=sum(latency),
    )


def route(domain: str, key: str, *, path: str = "/", port: str = "80", name: str = "web") -> Route:
    """A route of a domain to a service key."""
    return Route(
        domain=domain,
        path_prefix=path,
        service_key=key,
        service_name=name,
        service_port=port,
        tls=True,
    )


def snapshot(
    seq: int,
    end_ms: int,
    *,
    length_s: float = 15,
    services: Sequence[ServiceDelta] = (),
    edges: Sequence[EdgeDelta] = (),
    ingress: Sequence[IngressDelta] = (),
    routes: Sequence[Route] = (),
    agent: str = "agent-1",
    cluster: str = "default",
) -> SLOSnapshot:
    """A snapshot of the interval that ends at `end_ms`."""
    return SLOSnapshot(
        cluster_id=cluster,
        agent_id=agent,
        seq=seq,
        timestamp=moment(end_ms),
        interval_start=moment(end_ms - int(length_s * 1000)),
        interval_end=moment(end_ms),
        services=tuple(services),
        edges=tuple(edges),
        ingress=tuple(ingress),
        routes=tuple(routes),
    )


class Poster:
    """Posts one snapshot after another, the clock following."""

    def __init__(self, master: Master, clock: FakeClock, *, step_s: float = 15) -> None:
        self.master = master
        self.clock = clock
        self.step_s = step_s
        self.seq = 0

    def post(self, **records: object) -> None:
        """Let one interval pass and post what happened in it."""
        self.clock.advance(self.step_s)
        self.seq += 1
        body = snapshot(self.seq, self.clock.now_ms, length_s=self.step_s, **records)
        self.master.receive_json(body.to_json())


def dump(master: Master) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with master.store.read() as conn:
        return {table.name: _rows(conn, table.name) for table in metadata.sorted_tables}


def _rows(conn: Connection, name: str) -> list[tuple[object, ...]]:
    table = metadata.tables[name]
    rows = conn.execute(select(table).order_by(*table.primary_key)).all()
    return [tuple(row) for row in rows]
