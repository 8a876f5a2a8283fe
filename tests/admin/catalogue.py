"""`docs/METRICS.md`, made from what a gateway really shows: `python -m tests.admin.catalogue`."""

import sys

import gatewayx
from gatewayx.admin import Family
from gatewayx.admin.metrics import bound_text

_PREAMBLE = """\
# Metrics

Made from the families of a gateway by `make docs`; do not edit.

`/api/gateway/metrics` and `/stats/prometheus` write these as Prometheus text, or as OpenMetrics
where the scraper prefers it; `/api/gateway/stats` writes them as JSON. All are sums over the
workers. Beside them stand `gateway_build_info{version}` and the supervisor's own `process_*` and
`python_info`.
"""


def families() -> list[Family]:
    """All families of a gateway that has just been made."""
    gateway = gatewayx.Gateway(upstream="http://127.0.0.1:1")
    return [Family(*row) for row in gateway.metrics()]


def page() -> str:
    """The whole page."""
    lines = [_PREAMBLE, "| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for family in sorted(families(), key=lambda family: family.series_name):
        labels = ", ".join(f"`{label}`" for label in family.label_names) or "none"
        bounds = " ".join(map(bound_text, family.bounds))
        kind = f"{family.kind} (le {bounds})" if bounds else family.kind
        lines.append(f"| `{family.series_name}` | {kind} | {labels} | {family.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
