"""The generator: one seed is one day, and what it shows is what happened."""

import statistics
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatewayx.slo.agent.delta import LastValues
from gatewayx.slo.agent.filter import EXCLUDED_NAMESPACES
from gatewayx.slo.agent.pipeline import measure
from gatewayx.slo.generator import Calls, Cluster, CollectorStyle, Day, Edge, Workload
from gatewayx.slo.generator.day import EDGES, ENTRIES, PAYMENTS, SEARCH
from gatewayx.slo.generator.text import DEFAULT_STYLE, collector_text
from gatewayx.slo.snapshot import SLOSnapshot, bound_ms

STRETCH = Day(duration_s=1200, interval_s=60, rate=3.0)
STYLES = [
    pytest.param(CollectorStyle(), id="collector"),
    pytest.param(
        CollectorStyle(prefix="", scope=(), sorted_labels=True, timestamp_ms=1_767_225_600_000),
        id="federated",
    ),
]


def intervals(day, style=DEFAULT_STYLE, *, churn):
    """What the agent's stages make of the day's texts."""
    last = LastValues()
    for scrape in day.scrapes(style, churn=churn):
        interval = measure(scrape.text, last, scrape.at, excluded_namespaces=EXCLUDED_NAMESPACES)
        last = interval.advance.last
        assert interval.bad_lines == 0
        yield interval


def counts(figures):
    """Every integer of services, edges and ingress, by where it stands."""
    found = Counter()
    for service in figures.services:
        place = ("service", service.namespace, service.name)
        found[(*place, "tls")] += service.tls_request_delta
        for request in service.requests:
            found[(*place, request.status_code, request.classification)] += request.delta
        for bound, count in service.latency_buckets.items():
            found[(*place, bound)] += count
    for edge in figures.edges:
        place = ("edge", edge.src_ns, edge.src_name, edge.dst_ns, edge.dst_name)
        found[(*place, "requests")] += edge.request_delta
        found[(*place, "failures")] += edge.failure_delta
        found[(*place, "latencies")] += edge.latency_count
    for ingress in figures.ingress:
        place = ("ingress", ingress.service_key)
        for request in ingress.requests:
            found[(*place, request.code, request.method)] += request.delta
        for bound, count in ingress.latency_buckets.items():
            found[(*place, bound)] += count
    return +found


@pytest.mark.parametrize("style", STYLES)
def test_texts_measured_by_the_agent_are_the_snapshots(style):
    measured = list(intervals(STRETCH, style, churn=False))[1:]
    perfect = list(STRETCH.snapshots())
    assert len(measured) == len(perfect) == 20
    for interval, snapshot in zip(measured, perfect, strict=True):
        assert counts(interval.aggregates) == counts(snapshot)
        sums = {each.name: each.latency_sum for each in interval.aggregates.services}
        assert sums == pytest.approx({each.name: each.latency_sum for each in snapshot.services})


def test_with_churn_the_agent_counts_nearly_all_and_never_more():
    measured, perfect = Counter(), Counter()
    day = Day(seed=3, duration_s=2700, interval_s=60)
    steps = list(intervals(day, churn=True))
    for interval in steps:
        measured += counts(interval.aggregates)
    for snapshot in day.snapshots():
        perfect += counts(snapshot)
    assert sum(interval.advance.resets for interval in steps) > 0
    assert sum(interval.advance.evictions for interval in steps) > 0
    assert all(measured[place] <= perfect[place] for place in measured)
    assert measured.total() > 0.999 * perfect.total()


def test_one_seed_is_one_day():
    first, again, other = (Day(seed=seed, duration_s=300) for seed in (7, 7, 8))
    assert list(first.scrapes()) == list(again.scrapes())
    assert list(first.snapshots()) == list(again.snapshots())
    assert list(first.snapshots()) != list(other.snapshots())


def test_snapshots_are_valid_and_follow_each_other():
    previous = None
    for snapshot in Day(duration_s=600).snapshots():
        assert SLOSnapshot.from_json(snapshot.to_json()) == snapshot
        if previous is not None:
            assert snapshot.seq == previous.seq + 1
            assert snapshot.interval_start == previous.interval_end
        assert snapshot.interval_end - snapshot.interval_start == timedelta(minutes=1)
        previous = snapshot


def test_every_entry_has_a_route_to_a_key_that_occurs():
    keys = {each.service_key for snapshot in STRETCH.snapshots() for each in snapshot.ingress}
    assert (
        keys
        == {route.service_key for route in STRETCH.routes}
        == {entry.service_key for entry in ENTRIES}
    )


def test_a_day_has_its_tide_and_its_incidents():
    calls, failures, latencies = Counter(), Counter(), {}
    for period in Day(interval_s=600, rate=0.5).periods():
        for batch in period.calls:
            name, hour = batch.edge.dst, period.start.hour
            calls[name, hour] += len(batch.latencies_ms)
            failures[name, hour] += len(batch.latencies_ms) * batch.failed
            latencies.setdefault((name, hour), []).extend(batch.latencies_ms)
    assert calls[SEARCH, 18] > 5 * calls[SEARCH, 2]
    assert failures[PAYMENTS, 10] / calls[PAYMENTS, 10] > 0.05
    assert failures[PAYMENTS, 12] / calls[PAYMENTS, 12] < 0.02
    assert statistics.median(latencies[SEARCH, 14]) > 3 * statistics.median(latencies[SEARCH, 12])
    assert {edge.dst for edge in EDGES} == {name for name, _ in calls}


def test_buckets_hold_the_samples_they_claim():
    """The percentile read from the buckets is within the bucket of the sample's own."""
    periods = list(STRETCH.periods())
    samples = np.array(
        [
            latency
            for period in periods
            for batch in period.calls
            if batch.edge.dst is SEARCH
            for latency in batch.latencies_ms
        ]
    )
    merged = Counter()
    for snapshot in STRETCH.snapshots():
        for service in snapshot.services:
            if service.name == SEARCH.name:
                merged.update(service.latency_buckets)
    bounds = sorted(merged, key=bound_ms)
    for bound in bounds:
        assert merged[bound] == np.count_nonzero(samples <= bound_ms(bound))


def test_the_reference_parser_reads_every_style():
    cluster = Cluster()
    odd = Workload('sh"op', "we\\b\n")
    cluster.record(Calls(Edge(None, odd), "200", "GET", (1.0, 2.0)))
    for style in (CollectorStyle(), CollectorStyle(sorted_labels=True, timestamp_ms=5)):
        text = collector_text(cluster.processes(), style).decode()
        samples = [
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if "response" in sample.name
        ]
        assert len(samples) == 1 + 26 + 2
        assert {sample.labels["namespace"] for sample in samples} == {'sh"op'}
        assert {sample.labels["deployment"] for sample in samples} == {"we\\b\n"}
