"""The master's objectives as rules for other systems: Prometheus and OpenSLO.

Exported rules read the source metrics themselves, so that a Prometheus which scrapes the same
sources alerts on its own, with the same thresholds, windows, holds and labels as the master.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewayx.slo.master.figures import TargetType


@dataclass(frozen=True, slots=True)
class Indicator:
    """How to count the requests and errors of a kind of target in PromQL."""

    target_type: TargetType
    labels: tuple[str, ...]
    """The labels that identify a target, in the order of its key."""
    separator: str

    def target_template(self) -> str:
        """The target key of an alert, from its labels."""
        return self.separator.join(f"{{{{ $labels.{label} }}}}" for label in self.labels)

    def matchers(self, target_key: str) -> str:
        """Label matchers of one target."""
        values = target_key.split("/", 1) if self.separator else [target_key]
        pairs = zip(self.labels, values, strict=True)
        return ",".join(f"{label}={quoted(value)}" for label, value in pairs)


SERVICE = Indicator("service", ("namespace", "deployment"), "/")
INGRESS = Indicator("ingress", ("service_key",), "")
INDICATORS = (SERVICE, INGRESS)


def quoted(value: str) -> str:
    """A PromQL string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
