"""Targets as OpenSLO v1 documents: an SLO a target, and the burn-rate policies they share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from gatewayx.slo.master.burn import duration_name, rule_name
from gatewayx.slo.master.rules import INDICATORS, Indicator
from gatewayx.slo.master.rules.promql import Sources
from gatewayx.slo.master.settings import BurnRule, MasterSettings
from gatewayx.slo.master.targets import Target

API_VERSION = "openslo/v1"
_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]+")


def openslo_documents(
    cluster: str, settings: MasterSettings, targets: Iterable[Target], sources: Sources
) -> str:
    """A stream of YAML documents."""
    documents = [
        document for rule in settings.burn_rules for document in (_condition(rule), _policy(rule))
    ]
    policies = [_document_name(rule_name(rule)) for rule in settings.burn_rules]
    indicators = {indicator.target_type: indicator for indicator in INDICATORS}
    for target in targets:
        documents.append(
            _objective(cluster, target, indicators[target.target_type], policies, sources)
        )
    return yaml.safe_dump_all(documents, sort_keys=False, width=1000)


def _document_name(*parts: str) -> str:
    return _NOT_IN_NAMES.sub("-", "-".join(parts).lower()).strip("-")


def _document(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def _condition(rule: BurnRule) -> dict[str, Any]:
    return _document(
        "AlertCondition",
        _document_name(rule_name(rule)),
        {
            "description": f"the error budget burns {rule.factor:g} times too fast",
            "severity": rule.severity,
            "condition": {
                "kind": "burnrate",
                "op": "gt",
                "threshold": rule.factor,
                "lookbackWindow": duration_name(rule.long_s),
                "alertAfter": duration_name(rule.hold_s) if rule.hold_s else "0m",
            },
        },
    )


def _policy(rule: BurnRule) -> dict[str, Any]:
    name = _document_name(rule_name(rule))
    return _document(
        "AlertPolicy",
        name,
        {
            "alertWhenBreaching": True,
            "alertWhenResolved": True,
            "alertWhenNoData": False,
            "conditions": [{"conditionRef": name}],
            "notificationTargets": [],
        },
    )


def _objective(
    cluster: str,
    target: Target,
    indicator: Indicator,
    policies: list[str],
    sources: Sources,
) -> dict[str, Any]:
    window = "5m"
    matchers = indicator.matchers(target.target_key)
    bad = sources.errors(indicator, window, matchers)
    total = sources.requests(indicator, window, matchers)
    return _document(
        "SLO",
        _document_name(target.target_type, target.target_key, "availability"),
        {
            "description": f"{target.target_type} {target.target_key} answers without errors",
            "service": target.target_key,
            "indicator": {
                "metadata": {
                    "name": _document_name(target.target_type, target.target_key, "errors")
                },
                "spec": {
                    "ratioMetric": {
                        "counter": False,
                        "bad": {"metricSource": {"type": "Prometheus", "spec": {"query": bad}}},
                        "total": {"metricSource": {"type": "Prometheus", "spec": {"query": total}}},
                    }
                },
            },
            "timeWindow": [{"duration": f"{target.window_days}d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [
                {
                    "displayName": "availability",
                    "target": round(target.availability_percent / 100, 12),
                }
            ],
            "alertPolicies": policies,
        },
        labels={"cluster": cluster, "target_type": target.target_type},
    )
