"""The snapshot: exact round trip, and a clear refusal of everything else."""

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx.slo import snapshot
from gatewayx.slo.snapshot import SLOSnapshot, SnapshotError

names = st.text(min_size=1, max_size=20)
labels = st.text(max_size=10)
counts = st.integers(0, snapshot.COUNT_MAX)
sums = st.floats(0, 1e15)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
bounds = st.floats(0, 1e9).map(snapshot.bound_key)


@st.composite
def latencies(draw):
    keys = [*sorted(draw(st.sets(bounds, max_size=8)), key=snapshot.bound_ms), "+Inf"]
    cumulative = sorted(draw(st.lists(counts, min_size=len(keys), max_size=len(keys))))
    buckets = dict(zip(keys, cumulative, strict=True)) if draw(st.booleans()) else {}
    return {
        "latency_buckets": buckets,
        "latency_sum": draw(sums),
        "latency_count": cumulative[-1],
    }


@st.composite
def services(draw):
    pairs = draw(st.dictionaries(st.tuples(labels, labels), st.integers(0, 10**12), max_size=5))
    total = sum(pairs.values())
    return {
        "requests": [
            {"status_code": code, "classification": classification, "delta": delta}
            for (code, classification), delta in pairs.items()
        ],
        "total_request_delta": total,
        "tls_request_delta": draw(st.integers(0, total)),
        **draw(latencies()),
    }


@st.composite
def documents(draw):
    start = draw(moments)
    requests = draw(st.integers(0, snapshot.COUNT_MAX))
    return {
        "cluster_id": draw(names),
        "agent_id": draw(names),
        "seq": draw(st.integers(1, snapshot.COUNT_MAX)),
        "timestamp": draw(moments).isoformat(),
        "interval_start": start.isoformat(),
        "interval_end": (start + timedelta(seconds=draw(st.integers(0, 3600)))).isoformat(),
        "services": [
            {"namespace": namespace, "name": name, **draw(services())}
            for namespace, name in draw(st.sets(st.tuples(names, names), max_size=3))
        ],
        "edges": [
            {
                "src_ns": edge[0],
                "src_name": edge[1],
                "dst_ns": edge[2],
                "dst_name": edge[3],
                "request_delta": requests,
                "failure_delta": draw(st.integers(0, requests)),
                "latency_sum": draw(sums),
                "latency_count": draw(counts),
            }
            for edge in draw(st.sets(st.tuples(names, names, names, names), max_size=3))
        ],
        "ingress": [
            {
                "service_key": key,
                "requests": [{"code": "200", "method": "GET", "delta": draw(counts)}],
                **draw(latencies()),
            }
            for key in draw(st.sets(names, max_size=3))
        ],
        "routes": [
            {
                "domain": domain,
                "path_prefix": "/",
                "service_key": "shop-web-80",
                "service_name": "web",
                "service_port": "80",
                "tls": draw(st.booleans()),
            }
            for domain in draw(st.sets(names, max_size=3))
        ],
    }


@given(documents())
def test_json_round_trip_is_exact(document):
    read = SLOSnapshot.from_json(json.dumps(document))
    again = SLOSnapshot.from_json(read.to_json())
    assert again == read
    plain = json.loads(read.to_json())
    for moment in ("timestamp", "interval_start", "interval_end"):
        assert datetime.fromisoformat(plain.pop(moment)) == datetime.fromisoformat(
            document.pop(moment)
        )
    assert plain == document


def small():
    return {
        "cluster_id": "c1",
        "agent_id": "a1",
        "seq": 7,
        "timestamp": "2026-01-01T00:00:15Z",
        "interval_start": "2026-01-01T00:00:00Z",
        "interval_end": "2026-01-01T00:00:15Z",
        "services": [
            {
                "namespace": "shop",
                "name": "web",
                "requests": [{"status_code": "200", "classification": "success", "delta": 3}],
                "latency_buckets": {"5": 1, "10": 3, "+Inf": 3},
                "latency_sum": 12.5,
                "latency_count": 3,
                "tls_request_delta": 3,
                "total_request_delta": 3,
            }
        ],
        "edges": [
            {
                "src_ns": "shop",
                "src_name": "web",
                "dst_ns": "shop",
                "dst_name": "cart",
                "request_delta": 3,
                "failure_delta": 1,
            }
        ],
        "ingress": [
            {
                "service_key": "shop-web-80",
                "requests": [{"code": "200", "method": "GET", "delta": 3}],
            }
        ],
        "routes": [],
    }


def changed(path, value):
    document = small()
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


SERVICE = ("services", 0)
REFUSALS = [
    (("seq",), 0, "seq"),
    (("seq",), "7", "seq"),
    (("seq",), 7.5, "seq"),
    (("seq",), KeyError, "seq"),
    (("cluster_id",), "", "cluster_id"),
    (("surprise",), 1, "surprise"),
    (("timestamp",), "2026-01-01T00:00:15", "timestamp"),
    (("timestamp",), 1767225615, "timestamp"),
    (("interval_end",), "2025-12-31T23:59:59Z", "before interval_start"),
    ((*SERVICE, "latency_sum"), math.nan, "services.0.latency_sum"),
    ((*SERVICE, "latency_sum"), math.inf, "services.0.latency_sum"),
    ((*SERVICE, "latency_sum"), -1, "services.0.latency_sum"),
    ((*SERVICE, "latency_count"), 4, "+Inf bucket counts 3 but latency_count is 4"),
    ((*SERVICE, "latency_buckets"), {"5": 3}, "+Inf bucket is missing"),
    ((*SERVICE, "latency_buckets"), {"5": 4, "+Inf": 3}, "less than the 4 below it"),
    ((*SERVICE, "latency_buckets"), {"5.0": 3, "+Inf": 3}, "must be written '5'"),
    ((*SERVICE, "latency_buckets"), {"-5": 3, "+Inf": 3}, "not a number of milliseconds"),
    ((*SERVICE, "latency_buckets"), {"nan": 3, "+Inf": 3}, "not a number of milliseconds"),
    ((*SERVICE, "latency_buckets"), {"soon": 3, "+Inf": 3}, "not a number of milliseconds"),
    ((*SERVICE, "requests", 0, "delta"), True, "services.0.requests.0.delta"),
    ((*SERVICE, "requests", 0, "delta"), -1, "services.0.requests.0.delta"),
    ((*SERVICE, "requests", 0, "delta"), 2**53, "services.0.requests.0.delta"),
    ((*SERVICE, "total_request_delta"), 4, "requests add up to 3"),
    ((*SERVICE, "tls_request_delta"), 4, "larger than total_request_delta"),
    (("edges", 0, "failure_delta"), 4, "larger than request_delta"),
    (("services",), small()["services"] * 2, "occurs twice"),
    (("edges",), small()["edges"] * 2, "occurs twice"),
    (("ingress",), small()["ingress"] * 2, "occurs twice"),
    ((*SERVICE, "requests"), small()["services"][0]["requests"] * 2, "occurs twice"),
]


@pytest.mark.parametrize(("path", "value", "problem"), REFUSALS)
def test_refusal_says_where_and_why(path, value, problem):
    SLOSnapshot.from_json(json.dumps(small()))
    with pytest.raises(SnapshotError) as refused:
        SLOSnapshot.from_json(json.dumps(changed(path, value)))
    assert problem in str(refused.value)


def test_every_truncation_is_refused():
    text = json.dumps(small()).encode()
    for end in range(len(text)):
        with pytest.raises(SnapshotError):
            SLOSnapshot.from_json(text[:end])


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"\xff\xfe", b"{" * 100_000])
def test_not_an_object_is_refused(text):
    with pytest.raises(SnapshotError):
        SLOSnapshot.from_json(text)


def test_faults_are_bounded():
    document = small()
    document["edges"] = [{"src_ns": ""}] * 1000
    with pytest.raises(SnapshotError) as refused:
        SLOSnapshot.from_json(json.dumps(document))
    assert len(refused.value.faults) == snapshot.FAULTS_MAX


def test_buckets_are_put_in_order_and_times_in_utc():
    document = changed((*SERVICE, "latency_buckets"), {"+Inf": 3, "10": 3, "5": 1})
    document["timestamp"] = "2026-01-01T02:00:15+02:00"
    read = SLOSnapshot.from_json(json.dumps(document))
    assert list(read.services[0].latency_buckets) == ["5", "10", "+Inf"]
    assert read.timestamp.tzinfo is UTC
    assert read.timestamp == datetime(2026, 1, 1, 0, 0, 15, tzinfo=UTC)


@given(st.floats(0, 1e12))
def test_bound_keys_round_trip(bound):
    key = snapshot.bound_key(bound)
    assert snapshot.bound_key(snapshot.bound_ms(key)) == key
    assert snapshot.bound_ms(key) == pytest.approx(bound, abs=1e-6)
