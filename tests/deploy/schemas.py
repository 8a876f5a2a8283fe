"""Schemas of Kubernetes objects, from where their makers publish them; no copy is kept here."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

_MODULES = {
    "istio.io": ("istio.io/api@v1.32.0", "kubernetes/customresourcedefinitions.gen.yaml"),
    "monitoring.coreos.com": (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
}
"""Go modules that hold the custom resource definitions of an API group."""


@cache
def _definitions(group: str) -> list[dict[str, Any]]:
    module, path = _MODULES[group]
    told = subprocess.run(
        ["go", "mod", "download", "-json", module],
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    text = (Path(json.loads(told.stdout)["Dir"]) / path).read_text("utf-8")
    return [document for document in yaml.safe_load_all(text) if document]


def _strict(schema: Any) -> Any:
    """A server drops unknown fields silently; here they are mistakes."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        keeps = schema.get("x-kubernetes-preserve-unknown-fields")
        if not keeps and "additionalProperties" not in schema:
            closed["additionalProperties"] = False
    return closed


def check_custom(manifest: dict[str, Any]) -> None:
    """Validates a custom resource against its definition."""
    group, _, version = manifest["apiVersion"].partition("/")
    source = next(name for name in _MODULES if group.endswith(name))
    schemas = [
        each["schema"]["openAPIV3Schema"]
        for definition in _definitions(source)
        if definition["spec"]["group"] == group
        and definition["spec"]["names"]["kind"] == manifest["kind"]
        for each in definition["spec"]["versions"]
        if each["name"] == version
    ]
    assert len(schemas) == 1, manifest["kind"]
    spec = _strict(schemas[0]["properties"]["spec"])
    jsonschema.Draft202012Validator(spec).validate(manifest["spec"])


def documents(path: Path) -> list[dict[str, Any]]:
    """Every document of a YAML file."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))
