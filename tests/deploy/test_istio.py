"""The manifests for Istio: what the command prints, what is shipped, and that Envoy takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from gatewayx.cli.manifest import manifest
from tests.deploy.schemas import DEPLOY, check_custom, documents
from tests.envoy.process import ABORTS, EnvoyProcess
from tests.support.caller import Caller
from tests.support.upstream import ScriptedUpstream

POLICY = """
metadata: {name: late}
spec:
  selector: {service: frontend, namespace: demo}
  rules:
    - match: {path: {prefix: /api/}}
      fault: {percentage: 100, abort: {httpStatus: 503}}
"""

SHIPPED = {
    f"{kind}-{scope}.yaml": [
        "--url=oci://registry.example/gatewayx-envoy:0.1.0",
        "--control-plane=gatewayx.gatewayx.svc.cluster.local:9901",
        f"--kind={kind}",
        *(["--namespace=demo"] if scope == "namespace" else []),
    ]
    for kind in ("wasmplugin", "trafficextension")
    for scope in ("namespace", "global")
}


def printed(*arguments: str, text: str | None = None) -> str:
    result = CliRunner().invoke(manifest, arguments, input=text, standalone_mode=False)
    assert result.exception is None, result.output
    assert result.return_value == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_is_what_the_command_prints(name: str) -> None:
    assert (DEPLOY / "istio" / name).read_text("utf-8") == printed(*SHIPPED[name])


@pytest.mark.parametrize("name", SHIPPED)
def test_manifests_satisfy_istios_own_definitions(name: str) -> None:
    found = documents(DEPLOY / "istio" / name)
    assert [each["kind"] for each in found] == [
        "WasmPlugin" if name.startswith("wasm") else "TrafficExtension",
        "EnvoyFilter",
    ]
    namespace = "demo" if "namespace" in name else "istio-system"
    for each in found:
        check_custom(each)
        assert each["metadata"]["namespace"] == namespace


def test_the_definitions_refuse_what_is_wrong() -> None:
    plugin, stats = documents(DEPLOY / "istio/wasmplugin-global.yaml")
    plugin["spec"]["ulr"] = plugin["spec"].pop("url")
    stats["spec"]["configPatches"][0]["applyTo"] = "BOOTSTRAPS"
    for each in (plugin, stats):
        with pytest.raises(jsonschema.ValidationError):
            check_custom(each)


@pytest.mark.parametrize("kind", ["wasmplugin", "trafficextension"])
async def test_envoy_does_what_a_manifest_says(kind: str, tmp_path: Path) -> None:
    (tmp_path / "late.yaml").write_text(POLICY)
    text = printed(
        "--url=file:///plugin.wasm",
        f"--file={tmp_path / 'late.yaml'}",
        "--namespace=demo",
        "--app=frontend",
        "--name=faults",
        f"--sha256={'0' * 64}",
        f"--kind={kind}",
    )
    plugin, stats = yaml.safe_load_all(text)
    check_custom(plugin)
    check_custom(stats)
    assert plugin["metadata"] == {"name": "faults", "namespace": "demo"}
    assert plugin["spec"]["selector"] == {"matchLabels": {"app": "frontend"}}
    assert stats["spec"]["workloadSelector"] == {"labels": {"app": "frontend"}}
    spec: dict[str, Any] = plugin["spec"].get("wasm", plugin["spec"])
    patched = stats["spec"]["configPatches"][0]["patch"]["value"]["stats_config"]
    upstream = ScriptedUpstream()
    await upstream.start()
    envoy = EnvoyProcess(tmp_path, upstream.port, spec["pluginConfig"], stats_config=patched)
    try:
        envoy.start()
        caller = await Caller.connect(envoy.port)
        assert (await caller.get("/api/x")).status == 503
        assert (await caller.get("/x")).status == 200
        assert f"\n{ABORTS}{{}} 1\n" in await envoy.text()
        await caller.close()
    finally:
        envoy.stop()
        await upstream.stop()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--url=oci://x"], "give -f FILE"),
        (["--url=x", "--control-plane=a:1"], "--url must begin"),
        (["--url=oci://x", "--control-plane=a"], "--control-plane must be HOST:PORT"),
        (["--url=oci://x", "--control-plane=a:1", "--app=x"], "--app needs --namespace"),
        (["--url=oci://x", "--control-plane=a:1", "--sha256=x"], "64 hexadecimal digits"),
        (["--url=oci://x", "--file=-"], "spec.rules[0].fault.throttle is for the gateway"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], told: str) -> None:
    only_gateway = POLICY.replace("abort: {httpStatus: 503}", "throttle: {bytes_per_second: 5}")
    result = CliRunner().invoke(manifest, arguments, input=only_gateway)
    assert result.exit_code == 2
    assert told in result.output


def test_a_token_stands_only_in_what_was_asked_for() -> None:
    base = ["--url=oci://x", "--control-plane=gateway.demo.svc.cluster.local:9901"]
    assert "token" not in printed(*base)
    plugin, _ = yaml.safe_load_all(printed(*base, "--token=t"))
    assert plugin["spec"]["pluginConfig"]["control_plane"] == {
        "cluster": "outbound|9901||gateway.demo.svc.cluster.local",
        "authority": "gateway.demo.svc.cluster.local:9901",
        "interval_seconds": 5.0,
        "token": "t",
    }
