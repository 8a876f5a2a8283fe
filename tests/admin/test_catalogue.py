"""Every metric of the gateway is in the documentation, and the other way round."""

from pathlib import Path

from gatewayx.admin.exposition import write
from gatewayx.admin.metrics import Exposition
from tests.admin import api_reference
from tests.admin.catalogue import families, page

ROOT = Path(__file__).resolve().parents[2]

STABLE = {
    "gateway_requests_total",
    "gateway_errors_total",
    "gateway_upstream_latency_seconds",
    "gateway_proxy_latency_seconds",
    "gateway_active_connections",
    "gateway_limiter_in_use",
    "gateway_limiter_limit",
    "gateway_limiter_rejected_total",
    "gateway_upstream_connections",
    "gateway_upstream_connects_total",
    "gateway_upstream_reuse_total",
    "gateway_retries_total",
}
"""Names that dashboards are built on: they stay."""


def test_the_catalogue_is_up_to_date() -> None:
    written = (ROOT / "docs/METRICS.md").read_text(encoding="utf-8")
    assert written == page(), "run `make docs`"


def test_stable_names_are_there() -> None:
    assert {name for name in STABLE if f"| `{name}` |" not in page()} == set()


def test_native_families_become_both_formats() -> None:
    exposition = Exposition(lambda openmetrics: write(families(), openmetrics=openmetrics))
    text, _ = exposition.render("")
    openmetrics, _ = exposition.render("application/openmetrics-text")
    assert b'gateway_limiter_limit{proxy="default"} 0\n' in text
    overflow = b'gateway_upstream_latency_seconds_bucket{le="+Inf",proxy="default"} 0\n'
    assert overflow in text
    assert overflow in openmetrics


def test_the_reference_of_the_admin_api_is_up_to_date() -> None:
    written = Path("docs/API.md").read_text(encoding="utf-8")
    assert written == api_reference.page(), "run `make docs`"
