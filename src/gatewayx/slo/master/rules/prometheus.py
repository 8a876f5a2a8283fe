"""Recording and alerting rules for Prometheus.

One group a kind of target: first the recordings (requests, errors and their ratio by window, for
all targets at once), then an alert for each burn rule under the default target, then one for each
rule of every target of its own. Rules of a group run in order, so that alerts see fresh recordings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from gatewayx.slo.master.alerts import ALERT_NAME
from gatewayx.slo.master.burn import duration_name
from gatewayx.slo.master.rules import INDICATORS, Indicator
from gatewayx.slo.master.rules.promql import Sources
from gatewayx.slo.master.settings import BurnRule, MasterSettings
from gatewayx.slo.master.targets import Target, TargetBook

# The two-minute-old recordings of a slower group would delay a page.
GROUP_INTERVAL = "30s"


def prometheus_rules(
    cluster: str, settings: MasterSettings, book: TargetBook, sources: Sources
) -> str:
    """A rule file, as `promtool check rules` accepts it."""
    groups = [
        {
            "name": f"gatewayx-slo-{indicator.target_type}",
            "interval": GROUP_INTERVAL,
            "rules": [
                *_recordings(indicator, settings.burn_rules, sources),
                *_alerts(cluster, indicator, settings, book),
            ],
        }
        for indicator in INDICATORS
    ]
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000)


def _series(indicator: Indicator, what: str, window: str) -> str:
    return f"{indicator.target_type}:slo_{what}:increase{window}"


def _ratio(indicator: Indicator, window: str) -> str:
    return f"{indicator.target_type}:slo_error_ratio:increase{window}"


def _recordings(
    indicator: Indicator, rules: Iterable[BurnRule], sources: Sources
) -> Iterable[dict[str, Any]]:
    windows = sorted({length for rule in rules for length in (rule.long_s, rule.short_s)})
    for window in map(duration_name, windows):
        requests, errors = (_series(indicator, what, window) for what in ("requests", "errors"))
        yield {"record": requests, "expr": sources.requests(indicator, window)}
        yield {"record": errors, "expr": sources.errors(indicator, window)}
        yield {"record": _ratio(indicator, window), "expr": f"{errors} / {requests}"}


def _alerts(
    cluster: str, indicator: Indicator, settings: MasterSettings, book: TargetBook
) -> Iterable[dict[str, Any]]:
    own = [
        target
        for (target_type, _), target in sorted(book.own.items())
        if target_type == indicator.target_type
    ]
    default = book.find(indicator.target_type, "")
    for rule in settings.burn_rules:
        yield _alert(cluster, indicator, rule, default, "", own)
        for target in own:
            matchers = indicator.matchers(target.target_key)
            yield _alert(cluster, indicator, rule, target, matchers, ())


def _alert(
    cluster: str,
    indicator: Indicator,
    rule: BurnRule,
    target: Target,
    matchers: str,
    excluded: Sequence[Target],
) -> dict[str, Any]:
    long_window, short_window = duration_name(rule.long_s), duration_name(rule.short_s)
    selector = f"{{{matchers}}}" if matchers else ""
    threshold = f"({rule.factor:g} * {target.error_ratio_max:.12g})"
    events = _series(indicator, "requests", long_window)
    expression = (
        f"{_ratio(indicator, long_window)}{selector} > {threshold}"
        f" and {_ratio(indicator, short_window)}{selector} > {threshold}"
        f" and {events}{selector} >= {target.events_min}"
    )
    if excluded:
        series = (f"{events}{{{indicator.matchers(other.target_key)}}}" for other in excluded)
        expression = f"({expression}) unless ({' or '.join(series)})"
    return {
        "alert": ALERT_NAME,
        "expr": expression,
        "for": duration_name(rule.hold_s) if rule.hold_s else "0s",
        "labels": {
            "cluster": cluster,
            "severity": rule.severity,
            "target_type": indicator.target_type,
            "target": indicator.target_template(),
            "long_window": long_window,
            "short_window": short_window,
        },
        "annotations": {
            "summary": (
                f"{indicator.target_type} {indicator.target_template()} is burning its error budget"
            ),
            "description": (
                f"errors are above {rule.factor:g} times what {target.availability_percent:g} % "
                f"allows, over {long_window} and {short_window}"
            ),
        },
    }
