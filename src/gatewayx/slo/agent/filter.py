"""Drops what is nobody's traffic: probes, the proxies' own admin port, the platform's namespaces.

Touches nothing but its arguments. It works on samples, before they get a meaning, because two of
its rules are about labels that no later stage keeps.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from gatewayx.slo.agent.parse import Labels, ParsedText

EXCLUDED_NAMESPACES = ("linkerd", "linkerd-viz", "kube-system", "otel")
PROBE_ROUTE = "probe"
"""Linkerd's name for requests that the kubelet makes."""
PROXY_ADMIN_PORT = "4191"
"""Where Linkerd's proxy serves its own metrics."""
_NAMESPACE_LABELS = ("namespace", "dst_namespace")


def drop_excluded(parsed: ParsedText, namespaces: Collection[str]) -> ParsedText:
    """Keeps the samples of traffic that somebody answers for.

    A call counts as excluded when either end of it is.
    """
    verdicts: dict[int, bool] = {}
    kept = []
    for sample in parsed.samples:
        key = id(sample.labels)
        keep = verdicts.get(key)
        if keep is None:
            keep = verdicts[key] = _is_of_interest(sample.labels, namespaces)
        if keep:
            kept.append(sample)
    return replace(parsed, samples=tuple(kept))


def _is_of_interest(labels: Labels, namespaces: Collection[str]) -> bool:
    return (
        labels.get("route_name") != PROBE_ROUTE
        and labels.get("srv_port") != PROXY_ADMIN_PORT
        and not any(labels.get(label) in namespaces for label in _NAMESPACE_LABELS)
    )
