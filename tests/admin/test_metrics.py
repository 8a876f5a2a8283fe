"""Which exposition format a scraper is given."""

import pytest

from gatewayx.admin.metrics import prefers_openmetrics


@pytest.mark.parametrize(
    ("accept", "preferred"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; version=1.0.0", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", False),
        ("text/plain;q=0.5,application/openmetrics-text;q=0.9", True),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5", True),
        ("application/openmetrics-text;q=high", False),
        (",;,=", False),
    ],
)
def test_openmetrics_is_given_to_those_who_prefer_it(accept: str, preferred: bool) -> None:
    assert prefers_openmetrics(accept) is preferred
