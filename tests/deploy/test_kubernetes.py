"""The Kubernetes manifests: valid, and about a gateway that exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from gatewayx.config import load_file
from tests.deploy.schemas import DEPLOY, check_custom, documents
from tests.support.gateway import GatewayProcess

GATEWAY = DEPLOY / "kubernetes/gatewayx.yaml"
KINDS = {each["kind"]: each for each in documents(GATEWAY)}


@pytest.mark.parametrize("kind", ["ConfigMap", "Deployment", "Service"])
def test_manifests_are_valid(kind: str) -> None:
    kubernetes_validate.validate(KINDS[kind], "1.34", strict=True)


def test_a_wrong_manifest_is_not_valid() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**KINDS["Service"], "sepc": {}}, "1.34", strict=True)


def container() -> dict[str, Any]:
    found: dict[str, Any] = KINDS["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    return found


def test_the_service_monitor_is_valid_and_finds_the_service() -> None:
    (monitor,) = documents(DEPLOY / "kubernetes/servicemonitor.yaml")
    check_custom(monitor)
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= KINDS["Service"]["metadata"]["labels"].items()
    ports = {port["name"]: port for port in KINDS["Service"]["spec"]["ports"]}
    assert monitor["spec"]["endpoints"][0]["port"] in ports


def test_ports_and_paths_are_those_of_the_gateway(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(KINDS["ConfigMap"]["data"]["gateway.yaml"])
    config = load_file(path)
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert config.listeners[0].address.endswith(f":{ports['http']}")
    assert config.admin.address.endswith(f":{ports['admin']}")
    pod = KINDS["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > config.drain_timeout
    with GatewayProcess(
        tmp_path, {"proxies": [{"name": "a", "upstream": "http://127.0.0.1:9"}]}
    ) as (gateway):
        for probe in ("livenessProbe", "readinessProbe"):
            status = gateway.admin("GET", container()[probe]["httpGet"]["path"])[0]
            assert status == 200
        (monitor,) = documents(DEPLOY / "kubernetes/servicemonitor.yaml")
        assert gateway.admin("GET", monitor["spec"]["endpoints"][0]["path"])[0] == 200
