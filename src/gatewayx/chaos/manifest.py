"""Istio manifests that bring the Envoy plugin, its policies and its metrics to sidecars.

Istio 1.30 and newer read TrafficExtension, every Istio reads WasmPlugin. Neither makes metrics show
where a mesh limits them: for that an EnvoyFilter adds to the stats matcher of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gatewayx.chaos.model import Policy

ROOT_NAMESPACE = "istio-system"
"""What is configured there is for the whole mesh, unless a mesh names another."""

STATS_PREFIX = "wasmcustom."
"""Envoy calls a metric `wasmcustom.wasmcustom.hfi_faults_...`: a longer prefix would hide it."""

Kind = Literal["WasmPlugin", "TrafficExtension"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where the plugin goes, and where it gets its policies.

    Attributes:
        url: Of the plugin: `oci://`, `https://` or `file://`.
        name: Of the manifests.
        namespace: Whose workloads get it; None is the whole mesh.
        app: Only workloads with this `app` label.
        sha256: Checksum of the plugin.
        control_plane: `host:port` of the admin listener inside the cluster, as a full DNS name.
        token: The control plane's superuser token.
        interval_seconds: From one question to the control plane to the next.
    """

    url: str
    name: str = "gatewayx-faults"
    namespace: str | None = None
    app: str | None = None
    sha256: str | None = None
    control_plane: str | None = None
    token: str | None = None
    interval_seconds: float = 5.0


def manifests(
    deployment: Deployment, policies: Sequence[Policy], kind: Kind
) -> list[dict[str, Any]]:
    """The plugin and the EnvoyFilter for its metrics.

    Raises:
        ValueError: When a policy asks for what only the gateway can do.
    """
    return [plugin(deployment, policies, kind), stats_filter(deployment)]


def plugin(deployment: Deployment, policies: Sequence[Policy], kind: Kind) -> dict[str, Any]:
    """The manifest of the plugin; see `manifests`."""
    wasm: dict[str, Any] = {
        "url": deployment.url,
        "type": "HTTP",
        "pluginName": deployment.name,
        # A plugin that breaks stops no request.
        "failStrategy": "FAIL_OPEN",
        "pluginConfig": plugin_config(deployment, policies),
    }
    if deployment.sha256 is not None:
        wasm["sha256"] = deployment.sha256
    # A fault belongs to the service that is called, and is injected once: at its own sidecar.
    spec: dict[str, Any] = {"match": [{"mode": "SERVER"}]}
    if deployment.app is not None:
        spec["selector"] = {"matchLabels": {"app": deployment.app}}
    if kind == "TrafficExtension":
        spec["wasm"] = wasm
    else:
        spec |= wasm
    return {
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": kind,
        "metadata": _metadata(deployment, ""),
        "spec": spec,
    }


def plugin_config(deployment: Deployment, policies: Sequence[Policy]) -> dict[str, Any]:
    """What the plugin reads. Raises `ValueError` as `manifests` does."""
    for policy in policies:
        for index, rule in enumerate(policy.spec.rules):
            for key in ("truncate", "throttle"):
                if getattr(rule.fault, key) is not None:
                    place = f"spec.rules[{index}].fault.{key}"
                    raise ValueError(f"{policy.name}: {place} is for the gateway, not for Envoy")
    config: dict[str, Any] = {}
    if policies:
        config["policies"] = [
            policy.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
            for policy in policies
        ]
    if deployment.control_plane is not None:
        host, _, port = deployment.control_plane.rpartition(":")
        config["control_plane"] = {
            # Istio's name of the cluster of a service.
            "cluster": f"outbound|{port}||{host}",
            "authority": deployment.control_plane,
            "interval_seconds": deployment.interval_seconds,
        }
        if deployment.token is not None:
            config["control_plane"]["token"] = deployment.token
    return config


def stats_filter(deployment: Deployment) -> dict[str, Any]:
    """The EnvoyFilter that lets the metrics show. Pods get it when they are started again."""
    matcher = {"inclusion_list": {"patterns": [{"prefix": STATS_PREFIX}]}}
    spec: dict[str, Any] = {
        "configPatches": [
            {
                "applyTo": "BOOTSTRAP",
                "patch": {
                    "operation": "MERGE",
                    "value": {"stats_config": {"stats_matcher": matcher}},
                },
            }
        ]
    }
    if deployment.app is not None:
        spec["workloadSelector"] = {"labels": {"app": deployment.app}}
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": _metadata(deployment, "-stats"),
        "spec": spec,
    }


def _metadata(deployment: Deployment, suffix: str) -> dict[str, str]:
    return {
        "name": deployment.name + suffix,
        "namespace": deployment.namespace or ROOT_NAMESPACE,
    }
