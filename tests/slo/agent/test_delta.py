"""Deltas: the contract's rules one by one, through the stages from text to figures."""

import math

import pytest

from gatewayx.slo.agent.aggregate import Aggregates
from gatewayx.slo.agent.delta import RETENTION_S, LastValues
from gatewayx.slo.agent.filter import EXCLUDED_NAMESPACES
from gatewayx.slo.agent.pipeline import UnusableText, measure


class Measured:
    """Texts in, aggregates out, with memory in between."""

    def __init__(self):
        self.last = LastValues()
        self.at = 1_000_000.0
        self.step = None

    def __call__(self, *lines: str, after_s: float = 15.0) -> Aggregates:
        self.at += after_s
        text = "".join(f"{line}\n" for line in ("up 1", *lines)).encode()
        interval = measure(text, self.last, self.at, excluded_namespaces=EXCLUDED_NAMESPACES)
        self.step = interval.advance
        self.last = interval.advance.last
        assert interval.overflow is None
        return interval.aggregates


@pytest.fixture
def measured():
    return Measured()


def pod(name, value, **labels):
    pairs = {
        "namespace": "shop",
        "deployment": "web",
        "pod": name,
        "direction": "inbound",
        "status_code": "200",
        "classification": "success",
        "tls": "true",
    } | labels
    text = ",".join(f'{label}="{each}"' for label, each in pairs.items())
    return f"otel_response_total{{{text}}} {value}"


def gateway(counts, total=None, latency_sum=0.0, bounds=("0.1", "0.5", "+Inf")):
    name = "gateway_upstream_latency_seconds"
    return [
        *(
            f'{name}_bucket{{le="{bound}",proxy="p"}} {count}'
            for bound, count in zip(bounds, counts, strict=True)
        ),
        f'{name}_sum{{proxy="p"}} {latency_sum}',
        f'{name}_count{{proxy="p"}} {counts[-1] if total is None else total}',
    ]


def requests(figures):
    return sum(service.total_request_delta for service in figures.services)


def buckets(figures):
    return figures.ingress[0].latency_buckets if figures.ingress else {}


def test_the_first_scrape_is_a_baseline(measured):
    assert measured(pod("a", 100)) == Aggregates()
    assert measured.step.baseline


def test_the_contract_s_example_of_a_restart(measured):
    measured(pod("a", 100), pod("b", 200), pod("c", 300))
    assert requests(measured(pod("a", 110), pod("b", 210), pod("c", 5))) == 25
    assert measured.step.resets == 1


def test_a_new_pod_counts_in_full(measured):
    measured(pod("a", 100))
    assert requests(measured(pod("a", 100), pod("b", 7))) == 7


def test_a_source_without_series_is_still_a_baseline(measured):
    measured()
    assert requests(measured(pod("a", 7))) == 7


def test_an_evicted_series_that_came_back_counts_in_full(measured):
    kept = pod("a", 100)
    measured(kept, pod("a", 50, status_code="404"))
    assert requests(measured(kept)) == 0
    assert measured.step.evictions == 1
    assert requests(measured(kept, pod("a", 60, status_code="404"))) == 60


def test_a_pod_out_of_reach_is_no_eviction(measured):
    measured(pod("a", 100), pod("b", 50))
    assert requests(measured(pod("a", 100))) == 0
    assert measured.step.evictions == 0
    assert requests(measured(pod("a", 100), pod("b", 53))) == 3


def test_a_pod_that_restarted_out_of_reach_counts_in_full(measured):
    measured(pod("a", 100), pod("b", 50))
    measured(pod("a", 100))
    assert requests(measured(pod("a", 100), pod("b", 4))) == 4


def test_a_pod_back_from_a_long_absence_is_a_baseline(measured):
    measured(pod("a", 100), pod("b", 50))
    measured(pod("a", 100))
    measured(pod("a", 100), after_s=290)
    assert requests(measured(pod("a", 100), pod("b", 90))) == 0
    assert requests(measured(pod("a", 100), pod("b", 91))) == 1


def test_a_pod_absent_for_good_is_forgotten(measured):
    measured(pod("a", 100), pod("b", 50))
    measured(pod("a", 100))
    for _ in range(int(RETENTION_S / 290) + 2):
        measured(pod("a", 100), after_s=290)
    assert len(measured.last.series) == 1


def test_a_long_gap_makes_a_baseline(measured):
    measured(pod("a", 100))
    assert requests(measured(pod("a", 110), after_s=300)) == 10
    assert requests(measured(pod("a", 500), pod("b", 9), after_s=301)) == 0
    assert requests(measured(pod("a", 501), pod("b", 10))) == 2


def test_a_pod_out_of_reach_at_a_late_baseline_is_not_counted_twice(measured):
    measured(pod("a", 0), pod("b", 0))
    assert requests(measured(pod("a", 0), pod("b", 100))) == 100
    measured(pod("a", 0), after_s=301)
    assert requests(measured(pod("a", 0), pod("b", 150))) == 0


def test_the_same_text_again_is_nothing(measured):
    measured(pod("a", 1))
    assert requests(measured(pod("a", 5))) == 4
    assert measured(pod("a", 5)) == Aggregates()


def test_scopes_are_no_part_of_a_series(measured):
    measured(pod("a", 100, otel_scope_version="1"))
    assert requests(measured(pod("a", 103, otel_scope_version="2"))) == 3
    both = pod("a", 103, otel_scope_version="2"), pod("a", 109, otel_scope_version="3")
    assert requests(measured(*both)) == 6
    assert requests(measured(pod("a", 110, otel_scope_version="3"))) == 1


@pytest.mark.parametrize("bad", ["NaN", "+Inf", "-5", "abc", "1e300"])
def test_an_unreadable_value_is_made_up_for(measured, bad):
    measured(pod("a", 100))
    assert requests(measured(pod("a", bad))) == 0
    assert requests(measured(pod("a", 120))) == 20


@pytest.mark.parametrize("bad", ["NaN", "abc"])
def test_an_unreadable_value_at_the_baseline_is_no_spike(measured, bad):
    measured(pod("a", bad))
    assert requests(measured(pod("a", 100_000))) == 0
    assert requests(measured(pod("a", 100_001))) == 1


def test_an_illegible_line_is_no_spike(measured):
    whole, broken = pod("b", 100_000), pod("b", 100_000).replace('"b"', '"b')
    measured(pod("a", 1), broken)
    assert requests(measured(pod("a", 1), whole)) == 0
    assert requests(measured(pod("a", 1), broken)) == 0
    assert requests(measured(pod("a", 1), pod("b", 100_001))) == 1


@pytest.mark.parametrize("text", [b"", b"# HELP x y\n", b"\n\n"])
def test_an_empty_text_is_no_baseline(text):
    with pytest.raises(UnusableText) as unusable:
        measure(text, LastValues(), 1.0, excluded_namespaces=())
    assert unusable.value.reason == "empty"


def test_a_truncated_text_is_not_used():
    with pytest.raises(UnusableText) as unusable:
        measure(pod("a", 100).encode(), LastValues(), 1.0, excluded_namespaces=())
    assert unusable.value.reason == "truncated"


def test_a_histogram_grows_by_bucket(measured):
    measured(*gateway((1, 2, 3), latency_sum=0.5))
    figures = measured(*gateway((1, 4, 6), latency_sum=2.0))
    assert buckets(figures) == {"100": 0, "500": 2, "+Inf": 3}
    assert figures.ingress[0].latency_sum == 1500
    assert figures.ingress[0].latency_count == 3


@pytest.mark.parametrize(
    "after",
    [
        pytest.param((0, 12, 20), id="one bucket fell"),
        pytest.param((9, 11, 12), id="growth is not cumulative"),
        pytest.param((1, 1, 2), id="all fell"),
    ],
)
def test_a_histogram_is_reset_whole(measured, after):
    measured(*gateway((5, 10, 12), latency_sum=9.0))
    figures = measured(*gateway(after, latency_sum=4.0))
    assert tuple(buckets(figures).values()) == after
    assert figures.ingress[0].latency_sum == 4000


def test_a_lost_bucket_line_costs_resolution_once(measured):
    measured(*gateway((1, 2, 3)))
    torn = [line for line in gateway((2, 4, 6)) if 'le="0.5"' not in line]
    assert buckets(measured(*torn)) == {"100": 1, "+Inf": 3}
    assert buckets(measured(*gateway((2, 5, 7)))) == {"100": 0, "+Inf": 1}
    assert buckets(measured(*gateway((2, 6, 8)))) == {"100": 0, "500": 1, "+Inf": 1}


def test_a_lost_infinity_is_the_count(measured):
    measured(*gateway((1, 2, 3)))
    torn = [line for line in gateway((2, 4, 6)) if "+Inf" not in line]
    assert buckets(measured(*torn)) == {"100": 1, "500": 2, "+Inf": 3}


def test_buckets_that_shrink_are_unusable(measured):
    measured(*gateway((1, 2, 3)))
    assert measured(*gateway((5, 4, 6))) == Aggregates()
    assert buckets(measured(*gateway((2, 4, 6)))) == {"100": 1, "500": 2, "+Inf": 3}


def test_a_sum_that_was_unreadable_is_made_up_for(measured):
    measured(*gateway((1, 1, 1), latency_sum=1.0))
    assert measured(*gateway((2, 2, 2), latency_sum=math.nan)).ingress[0].latency_sum == 0
    assert measured(*gateway((3, 3, 3), latency_sum=3.0)).ingress[0].latency_sum == 2000


def test_other_bounds_after_a_restart_count_in_full(measured):
    measured(*gateway((5, 10, 12)))
    figures = measured(*gateway((1, 2, 3), bounds=("0.2", "0.5", "+Inf")))
    assert buckets(figures) == {"200": 1, "500": 2, "+Inf": 3}
