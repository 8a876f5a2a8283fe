"""What each source's metrics become: names, labels, units, filters."""

import pytest

from gatewayx.slo.agent.delta import LastValues
from gatewayx.slo.agent.filter import EXCLUDED_NAMESPACES
from gatewayx.slo.agent.normalise import METRICS, normalise
from gatewayx.slo.agent.parse import parse
from gatewayx.slo.agent.pipeline import measure

INBOUND = (
    'namespace="shop",deployment="web",pod="web-1",direction="inbound",status_code="200",'
    'classification="success",tls="true"'
)
OUTBOUND = (
    'namespace="shop",deployment="web",pod="web-1",direction="outbound",status_code="200",'
    'dst_namespace="shop",dst_deployment="cart"'
)
TO_PLATFORM = OUTBOUND.replace('dst_namespace="shop"', 'dst_namespace="otel"')


def figures(*lines, namespaces=EXCLUDED_NAMESPACES):
    """The deltas of lines that were all zero a scrape before."""
    zero = "".join(f"{line.rpartition(' ')[0]} 0\n" for line in lines)
    last = measure(zero.encode(), LastValues(), 1.0, excluded_namespaces=namespaces).advance.last
    text = "".join(f"{line}\n" for line in lines)
    return measure(text.encode(), last, 2.0, excluded_namespaces=namespaces).aggregates


@pytest.mark.parametrize("prefix", ["", "otel_"])
@pytest.mark.parametrize("suffix", ["", "_total"])
@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        ("response", INBOUND),
        ("traefik_service_requests", 'service="shop-web-80@kubernetes",code="200",method="GET"'),
        ("nginx_ingress_controller_requests", 'namespace="shop",service="web",status="2xx"'),
        ("gateway_requests", 'proxy="sidecar",status="200"'),
    ],
)
def test_requests_are_known_with_and_without_prefix_and_suffix(prefix, suffix, metric, labels):
    found = figures(f"{prefix}{metric}{suffix}{{{labels}}} 7")
    entries = found.services + found.ingress
    assert [request.delta for entry in entries for request in entry.requests] == [7]


def test_a_service_is_its_inbound_side():
    (service,) = figures(
        f"response_total{{{INBOUND}}} 7",
        f"response_total{{{INBOUND.replace('web-1', 'web-2')}}} 5",
        f"response_total{{{INBOUND.replace('true', 'no_identity').replace('200', '503')}}} 2",
        f'response_latency_ms_bucket{{{INBOUND},le="1"}} 3',
        f'response_latency_ms_bucket{{{INBOUND},le="2.5"}} 4',
        f'response_latency_ms_bucket{{{INBOUND},le="+Inf"}} 9',
        f"response_latency_ms_sum{{{INBOUND}}} 90",
        f"response_latency_ms_count{{{INBOUND}}} 9",
    ).services
    assert (service.namespace, service.name) == ("shop", "web")
    assert [(item.status_code, item.delta) for item in service.requests] == [
        ("200", 12),
        ("503", 2),
    ]
    assert (service.tls_request_delta, service.total_request_delta) == (12, 14)
    assert service.latency_buckets == {"1": 3, "2.5": 4, "+Inf": 9}
    assert (service.latency_sum, service.latency_count) == (90, 9)


def test_an_edge_is_the_caller_s_outbound_side():
    found = figures(
        f'response_total{{{OUTBOUND},classification="success"}} 7',
        f'response_total{{{OUTBOUND},classification="failure"}} 2',
        f'response_latency_ms_bucket{{{OUTBOUND},le="+Inf"}} 9',
        f"response_latency_ms_sum{{{OUTBOUND}}} 90",
        f"response_latency_ms_count{{{OUTBOUND}}} 9",
    )
    assert (found.services, found.ingress) == ((), ())
    (edge,) = found.edges
    assert (edge.src_ns, edge.src_name, edge.dst_ns, edge.dst_name) == (
        "shop",
        "web",
        "shop",
        "cart",
    )
    assert (edge.request_delta, edge.failure_delta) == (9, 2)
    assert (edge.latency_sum, edge.latency_count) == (90, 9)


def test_traefik_seconds_become_milliseconds():
    labels = 'service="shop-web-80@kubernetes",code="404",method="GET",protocol="http"'
    name = "otel_traefik_service_request_duration_seconds"
    (ingress,) = figures(
        f"otel_traefik_service_requests_total{{{labels}}} 4",
        *(
            f'{name}_bucket{{{labels},le="{bound}"}} {count}'
            for bound, count in (("0.1", 1), ("0.3", 2), ("1.2", 3), ("5", 4), ("+Inf", 4))
        ),
        f"{name}_sum{{{labels}}} 1.7",
        f"{name}_count{{{labels}}} 4",
    ).ingress
    assert ingress.service_key == "shop-web-80"
    assert ingress.latency_buckets == {"100": 1, "300": 2, "1200": 3, "5000": 4, "+Inf": 4}
    assert ingress.latency_sum == 1700
    assert [(item.code, item.method, item.delta) for item in ingress.requests] == [
        ("404", "GET", 4)
    ]


@pytest.mark.parametrize(
    ("labels", "key", "code"),
    [
        ('namespace="shop",service="web",service_port="80",status="200"', "shop-web-80", "200"),
        ('namespace="shop",service="web",status="2xx"', "shop-web", "2xx"),
        ('namespace="shop",service="web",service_port="",status="2xx"', "shop-web", "2xx"),
        ('namespace="shop",service="web",status="odd"', "shop-web", "OTHER"),
    ],
)
def test_ingress_nginx_joins_what_is_there(labels, key, code):
    (ingress,) = figures(f"nginx_ingress_controller_requests{{{labels}}} 3").ingress
    assert (ingress.service_key, ingress.requests[0].code) == (key, code)


def test_methods_that_anyone_can_invent_are_one():
    lines = (
        f'traefik_service_requests_total{{service="a@file",code="200",method="{method}"}} 1'
        for method in ("GET", "FOO", "BAR", "get")
    )
    (ingress,) = figures(*lines).ingress
    assert {item.method: item.delta for item in ingress.requests} == {"GET": 1, "OTHER": 3}


@pytest.mark.parametrize(
    "line",
    [
        f'response_total{{{INBOUND},route_name="probe"}} 5',
        f'response_total{{{INBOUND},srv_port="4191"}} 5',
        f"response_total{{{INBOUND.replace('shop', 'linkerd-viz')}}} 5",
        f"response_total{{{TO_PLATFORM}}} 5",
        f"response_total{{{INBOUND.replace('deployment', 'x')}}} 5",
        f"response_total{{{OUTBOUND.replace('dst_deployment', 'dst_x')}}} 5",
        f"response_total{{{INBOUND.replace('web', 'w' * 300)}}} 5",
        'nginx_ingress_controller_requests{namespace="kube-system",service="x",status="200"} 5',
        'nginx_ingress_controller_requests{namespace="",service="",status="404"} 5',
        'traefik_service_requests_total{service="dashboard@internal",code="200"} 5',
        'gateway_requests_total{status="200"} 5',
        f'response_latency_ms_bucket{{{INBOUND},le="soon"}} 5',
        f'response_latency_ms_bucket{{{INBOUND},le="-1"}} 5',
        f'response_latency_ms_bucket{{{INBOUND},le="5"}} 5',
    ],
)
def test_what_is_nobody_s_traffic_or_cannot_be_told_is_left_out(line):
    found = figures(line, "up 1")
    assert (found.services, found.edges, found.ingress) == ((), (), ())


def test_namespaces_to_leave_out_are_a_choice():
    line = f"response_total{{{INBOUND.replace('shop', 'otel')}}} 5"
    assert figures(line).services == ()
    assert len(figures(line, namespaces=["shop"]).services) == 1


def test_other_workloads_than_deployments_have_names_too():
    (service,) = figures(
        f"response_total{{{INBOUND.replace('deployment', 'statefulset')}}} 5"
    ).services
    assert service.name == "web"


def test_types_and_created_series_mean_nothing():
    text = f"""# TYPE response_total histogram
response_total{{{INBOUND}}} 5
response_created{{{INBOUND}}} 1700000000
target_info{{job="x"}} 1
"""
    normalised = normalise(parse(text.encode(), METRICS))
    assert [reading.value for reading in normalised.scrape.readings] == [5]


def test_different_bounds_meet_at_those_they_share():
    def lines(pod, *buckets):
        labels = INBOUND.replace("web-1", pod)
        return [f'response_latency_ms_bucket{{{labels},le="{le}"}} {n}' for le, n in buckets]

    (service,) = figures(
        *lines("a", ("1", 1), ("5", 2), ("10", 3), ("+Inf", 4)),
        *lines("b", ("2", 10), ("5", 20), ("+Inf", 40)),
    ).services
    assert service.latency_buckets == {"5": 22, "+Inf": 44}
    assert service.latency_count == 44


def test_a_snapshot_that_would_pass_its_limits_is_left_out_and_said_so():
    text = "".join(
        f"response_total{{{INBOUND.replace('web-1', f'web-{index}')}}} {2**53 - 1}\n"
        for index in range(3)
    )
    last = measure(b"up 1\n", LastValues(), 1.0, excluded_namespaces=()).advance.last
    interval = measure(text.encode(), last, 2.0, excluded_namespaces=())
    assert interval.overflow is not None
    assert interval.aggregates.services == ()
    assert len(interval.advance.last.series) == 3
