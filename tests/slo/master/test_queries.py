"""What the queries answer, figure by figure, from raw rows and from rolled-up ones."""

from __future__ import annotations

import pytest

from gatewayx.slo.master.domains import domain_detail, domain_history, domains
from gatewayx.slo.master.faults import StoredFaultWindows
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.mesh import NotReported, service_detail, topology
from gatewayx.slo.master.plan import TimeRange, range_before
from tests.slo.master.snapshots import FakeClock, Poster, edge, ingress, route, service

NO_FAULTS = StoredFaultWindows()


def post_minute(master: Master, clock: FakeClock) -> Poster:
    """Four snapshots: a web service that calls a database and an unmeshed cache."""
    poster = Poster(master, clock)
    for _ in range(4):
        poster.post(
            services=[
                service("shop/web", 99, 1, latency=(50, 30, 15, 5, 0), latency_sum=3000, tls=75),
                service("shop/db", 200, 0, latency=(200, 0, 0, 0, 0), latency_sum=600, tls=200),
            ],
            edges=[
                edge("shop/web", "shop/db", 200, 2, 900),
                edge("shop/web", "cache/redis", 50, 0, 25),
            ],
            ingress=[
                ingress(
                    "shop-web-80",
                    [("200", "GET", 60), ("404", "GET", 10), ("500", "POST", 30)],
                    latency=(10, 40, 40, 10, 0),
                    latency_sum=8000,
                ),
                ingress("shop-old-80", [("2xx", "GET", 5)]),
            ],
            routes=[
                route("shop.example.com", "shop-web-80"),
                route("shop.example.com", "shop-web-80", path="/api"),
            ],
        )
    return poster


@pytest.fixture(params=["raw", "rolled up"])
def minute(master: Master, clock: FakeClock, request: pytest.FixtureRequest) -> Master:
    """A master with a minute of traffic, before and after it was folded."""
    post_minute(master, clock)
    if request.param == "rolled up":
        master.roll_up()
    return master


def last_hour(clock: FakeClock) -> TimeRange:
    return range_before(clock.now_ms, 3600)


def test_topology(minute: Master, clock: FakeClock) -> None:
    with minute.readings.open("default", last_hour(clock)) as reading:
        answer = topology(reading, NO_FAULTS)
    assert answer["time_range"]["covered_seconds"] == 60
    assert [node["id"] for node in answer["nodes"]] == ["cache/redis", "shop/db", "shop/web"]
    redis, db, web = answer["nodes"]
    assert web == {
        "id": "shop/web",
        "name": "web",
        "namespace": "shop",
        "rps": pytest.approx(400 / 60),
        "total_requests": 400,
        "total_errors": 4,
        "error_rate": pytest.approx(1.0),
        "availability": pytest.approx(99.0),
        "avg_latency": pytest.approx(30.0),
        "p50_latency": pytest.approx(10.0),
        "p95_latency": pytest.approx(100.0),
        "p99_latency": pytest.approx(100 + 400 * 0.8),
        "latency_saturated": False,
        "status": "critical",
        "mtls_percent": pytest.approx(75.0),
        "latency_distribution": [
            {"le": "10", "count": 200},
            {"le": "50", "count": 120},
            {"le": "100", "count": 60},
            {"le": "500", "count": 20},
            {"le": "+Inf", "count": 0},
        ],
        "status_code_breakdown": [{"code": "2xx", "count": 396}, {"code": "5xx", "count": 4}],
    }
    assert (db["status"], db["error_rate"], db["mtls_percent"]) == ("healthy", 0.0, 100.0)
    # Nobody observed the cache itself: it is there, and nothing is claimed about it.
    assert (redis["status"], redis["p95_latency"], redis["error_rate"]) == ("unknown", None, None)
    assert answer["edges"] == [
        {
            "source": "shop/web",
            "target": "cache/redis",
            "rps": pytest.approx(200 / 60),
            "avg_latency": pytest.approx(0.5),
            "error_rate": 0.0,
            "total_requests": 200,
        },
        {
            "source": "shop/web",
            "target": "shop/db",
            "rps": pytest.approx(800 / 60),
            "avg_latency": pytest.approx(4.5),
            "error_rate": pytest.approx(1.0),
            "total_requests": 800,
        },
    ]


def test_service_detail(minute: Master, clock: FakeClock) -> None:
    with minute.readings.open("default", last_hour(clock)) as reading:
        answer = service_detail(reading, NO_FAULTS, "shop", "web")
        db = service_detail(reading, NO_FAULTS, "shop", "db")
    assert answer["total_requests"] == 400
    assert [link["target"] for link in answer["upstreams"]] == ["cache/redis", "shop/db"]
    assert answer["downstreams"] == []
    assert [link["source"] for link in db["downstreams"]] == ["shop/web"]
    (point,) = answer["history"]
    assert point == {
        "timestamp": "2026-03-10T12:00:00Z",
        "rps": pytest.approx(400 / 60),
        "p95_latency": pytest.approx(100.0),
        "error_rate": pytest.approx(1.0),
        "availability": pytest.approx(99.0),
        "mtls_percent": pytest.approx(75.0),
        "total_requests": 400,
    }


def test_domains(minute: Master, clock: FakeClock) -> None:
    with minute.readings.open("default", last_hour(clock)) as reading:
        answer = domains(reading)
        assert domain_detail(reading, "shop.example.com")["total_requests"] == 400
        history = domain_history(reading, "shop.example.com", "shop-web-80")
    (domain,) = answer["domains"]
    assert (domain["domain"], domain["tls"], domain["status"]) == (
        "shop.example.com",
        True,
        "critical",
    )
    assert domain["backend_service_ids"] == ["shop/web"]
    assert domain["request_breakdown"] == [
        {"method": "GET", "count": 280, "error_count": 0},
        {"method": "POST", "count": 120, "error_count": 120},
    ]
    assert domain["availability"] == pytest.approx(70.0)
    (entry,) = domain["services"]
    assert (entry["namespace"], entry["service_name"], entry["paths"]) == (
        "shop",
        "web",
        ["/", "/api"],
    )
    assert entry["p50_latency"] == pytest.approx(50.0)
    assert [unrouted["service_key"] for unrouted in answer["unrouted"]] == ["shop-old-80"]
    (series,) = history["services"]
    assert [point["total_requests"] for point in series["history"]] == [400]


def test_what_nobody_reported_is_not_found(minute: Master, clock: FakeClock) -> None:
    with minute.readings.open("default", last_hour(clock)) as reading:
        with pytest.raises(NotReported):
            service_detail(reading, NO_FAULTS, "shop", "nowhere")
        with pytest.raises(NotReported):
            domain_detail(reading, "nowhere.example.com")
        with pytest.raises(NotReported):
            domain_history(reading, "shop.example.com", "shop-old-80")


def test_an_empty_master_answers(master: Master, clock: FakeClock) -> None:
    with master.readings.open("default", last_hour(clock)) as reading:
        answer = topology(reading, NO_FAULTS)
        assert domains(reading)["domains"] == []
    assert (answer["nodes"], answer["edges"]) == ([], [])
    assert answer["time_range"]["covered_seconds"] == 0


@pytest.mark.parametrize(
    ("length_s", "step_s", "points"),
    [(3600, 60, 60), (6 * 3600, 300, 72), (86400, 1800, 48), (7 * 86400, 3600, 50)],
)
def test_histories_have_even_steps_that_add_up(
    sqlite_master: Master, clock: FakeClock, length_s: int, step_s: int, points: int
) -> None:
    """Fifty hours of snapshots, rolled up but for the last ones; gaps are left out."""
    poster = Poster(sqlite_master, clock, step_s=1200 if length_s > 21600 else 60)
    count = int((50 * 3600 if length_s > 21600 else length_s) / poster.step_s)
    for number in range(count):
        poster.post(services=[service("a/one", 6, latency=(6, 0, 0, 0, 0))])
        if number == count - 3:
            sqlite_master.roll_up()
    time_range = range_before(clock.now_ms, length_s)
    with sqlite_master.readings.open("default", time_range) as reading:
        answer = service_detail(reading, NO_FAULTS, "a", "one")
    history = answer["history"]
    assert sum(point["total_requests"] for point in history) == answer["total_requests"]
    assert len(history) == points
    assert {point["rps"] for point in history} == {6 / poster.step_s}


def test_long_ranges_begin_on_whole_hours_and_days(clock: FakeClock) -> None:
    fine_s = 48 * 3600
    now_ms = clock.now_ms + 1_234_567
    exact = range_before(now_ms, 6 * 3600)
    assert exact.aligned(now_ms, fine_s) == exact
    day = range_before(now_ms, 86400).aligned(now_ms, fine_s)
    assert (day.from_ms % 3_600_000, day.to_ms) == (0, now_ms)
    month = range_before(now_ms, 30 * 86400).aligned(now_ms, fine_s)
    assert month.from_ms % 86_400_000 == 0
    past = TimeRange(now_ms - 60 * 3_600_000, now_ms - 59 * 3_600_000).aligned(now_ms, fine_s)
    assert (past.from_ms % 3_600_000, past.to_ms % 3_600_000) == (0, 0)
