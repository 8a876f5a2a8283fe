"""PromQL that counts what the agent counts: the same sources, the same filter, the same errors."""

from __future__ import annotations

from dataclasses import dataclass

from gatewayx.slo.master.rules import Indicator, quoted

# What the agent leaves out unless it is told otherwise.
EXCLUDED_NAMESPACES = ("linkerd", "linkerd-viz", "kube-system", "otel")


@dataclass(frozen=True, slots=True)
class Sources:
    """How the source metrics are named where the rules will run."""

    prefix: str = ""
    """`otel_` behind an OpenTelemetry Collector."""

    def requests(self, indicator: Indicator, window: str, matchers: str = "") -> str:
        """Requests of a window by target."""
        return self._count(indicator, window, matchers, errors=False)

    def errors(self, indicator: Indicator, window: str, matchers: str = "") -> str:
        """Errors of a window by target: 0, not nothing, where there were requests only."""
        requests = self.requests(indicator, window, matchers)
        return f"{self._count(indicator, window, matchers, errors=True)} or {requests} * 0"

    def _count(self, indicator: Indicator, window: str, matchers: str, *, errors: bool) -> str:
        if indicator.target_type == "service":
            return self._mesh(window, matchers, errors=errors)
        return self._ingress(window, matchers, errors=errors)

    def _mesh(self, window: str, matchers: str, *, errors: bool) -> str:
        excluded = "|".join(EXCLUDED_NAMESPACES)
        parts = [
            'direction="inbound"',
            'route_name!="probe"',
            'srv_port!="4191"',
            f"namespace!~{quoted(excluded)}",
        ]
        if matchers:
            parts.append(matchers)
        if errors:
            parts.append('classification="failure"')
        series = f"{self.prefix}response_total{{{','.join(parts)}}}"
        return f"sum by (namespace, deployment) (increase({series}[{window}]))"

    def _ingress(self, window: str, matchers: str, *, errors: bool) -> str:
        def increase(metric: str, code: str, *parts: str) -> str:
            selected = ",".join((*parts, f'{code}=~"5.."') if errors else parts)
            series = f"{self.prefix}{metric}" + (f"{{{selected}}}" if selected else "")
            return f"increase({series}[{window}])"

        traefik = (
            f"label_replace({increase('traefik_service_requests_total', 'code')}, "
            '"service_key", "$1", "service", "([^@]+)(?:@.*)?")'
        )
        # An absent service_port leaves a dash behind; the second step takes it off.
        kept = f"namespace!~{quoted('|'.join(EXCLUDED_NAMESPACES))}"
        nginx = (
            "label_replace(label_join("
            f"{increase('nginx_ingress_controller_requests', 'status', kept)}, "
            '"service_key", "-", "namespace", "service", "service_port"), '
            '"service_key", "$1", "service_key", "(.*?)-?")'
        )
        gateway = (
            f"label_replace({increase('gateway_requests_total', 'status')}, "
            '"service_key", "$1", "proxy", "(.*)")'
        )
        counted = f"sum by (service_key) ({traefik} or {nginx} or {gateway})"
        if not matchers:
            return counted
        # service_key is made on the way, so that it can only be compared at the end.
        value = matchers.removeprefix("service_key=")
        wanted = f'label_replace(vector(1), "service_key", {value}, "", "")'
        return f"({counted} and on (service_key) {wanted})"
