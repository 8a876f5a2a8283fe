"""Who may depend on whom: arrows point down only."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tidy.tree import ROOT, sources, text_of

PARTS = {"auth", "http", "policy", "telemetry"}
CRATES = {
    "auth": set(),
    "http": set(),
    "policy": set(),
    "telemetry": set(),
    "engine": PARTS,
    "simulator": {*PARTS, "engine"},
    "python": {*PARTS, "engine"},
    "fuzz": {*PARTS, "engine", "simulator"},
}
"""What each crate of native/ may name, in any kind of dependency."""

FOR_THE_DRIVER = {"pyo3", "libc"}
"""External crates that reach an interpreter or an operating system: native/python only."""

PACKAGES = {
    "config": {"config"},
    "admin": {"admin", "config", "chaos", "store"},
    "server": {"server", "admin", "chaos", "config", "slo", "store", "tracing"},
    "gateway": {"server", "chaos", "config", "tracing"},
    "cli": {"cli", "config", "server", "slo", "chaos"},
    "database": {"database"},
    "store": {"store", "config", "database"},
    "chaos": {"chaos", "config"},
    "slo": {"slo", "config", "database"},
    "tracing": {"tracing", "config"},
}
"""What each part of src/gatewayx may import of the others."""

NATIVE_USERS = {
    "__init__.py",
    "gateway.py",
    "primitives.py",
    "server",
    "config/access.py",
    "config/auth.py",
}
"""Who may import gatewayx._native."""


def crate_manifests() -> list[Path]:
    return [name for name in sources(".toml", under="native") if name.name == "Cargo.toml"]


def dependencies(manifest: dict[str, Any]) -> Iterator[str]:
    """The names of all dependencies, of every kind and target."""
    for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
        yield from manifest.get(kind, {})
    for target in manifest.get("target", {}).values():
        yield from dependencies(target)


@pytest.mark.parametrize("path", crate_manifests(), ids=lambda path: path.parent.name)
def test_crates_depend_downwards_only(path: Path) -> None:
    crate = path.parent.name
    named = set(dependencies(tomllib.loads(text_of(path))))
    inner = {name.removeprefix("gatewayx-") for name in named if name.startswith("gatewayx-")}
    assert crate in CRATES, f"{path}: say in CRATES what {crate} may depend on"
    assert inner <= CRATES[crate], f"{path}: {crate} may not depend on {inner - CRATES[crate]}"
    if crate != "python":
        foreign = named & FOR_THE_DRIVER
        assert not foreign, f"{path}: {foreign} belongs into native/python; pass values in instead"


def test_every_part_of_the_core_is_there() -> None:
    assert {path.parent.name for path in crate_manifests()} >= {*PARTS, "engine", "python"}


def imports(name: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported from gatewayx, at any depth of the code."""
    for node in ast.walk(ast.parse(text_of(name))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: write the whole name of the module"
            base = node.module or ""
            names = [f".{alias.name}" for alias in node.names] if base == "gatewayx" else [""]
            yield from ((node.lineno, base + end) for end in names)


def test_packages_import_downwards_only() -> None:
    wrong: list[str] = []
    for name in sources(".py", under="src/gatewayx"):
        part = name.relative_to("src/gatewayx").parts[0].removesuffix(".py")
        allowed = PACKAGES.get(part)
        for line, module in imports(name):
            top, _, rest = module.partition(".")
            imported = rest.split(".")[0]
            if top != "gatewayx" or imported.startswith("_") or not imported or allowed is None:
                continue
            if imported not in allowed:
                wrong.append(f"{name}:{line}: {part} may not import {imported}")
    assert not wrong, "\n".join(wrong)


def test_few_modules_import_the_native_extension() -> None:
    wrong: list[str] = []
    for name in sources(".py", under="src/gatewayx"):
        inner = name.relative_to("src/gatewayx")
        known = inner.as_posix() in NATIVE_USERS or inner.parts[0] in NATIVE_USERS
        found = [line for line, module in imports(name) if module.startswith("gatewayx._native")]
        if found and not known:
            wrong.append(f"{name}:{found[0]}: import gatewayx.primitives, or join NATIVE_USERS")
    assert not wrong, "\n".join(wrong)


def test_a_worker_loads_no_control_plane() -> None:
    """Every worker pays for what it imports; none of this runs on the request path."""
    heavy = {"pydantic", "fastapi", "uvicorn", "yaml", "click", "rich", "prometheus_client"}
    assert not loaded_by("gatewayx.server.worker", heavy | SERVICE_LEVELS)


def test_a_supervisor_loads_service_levels_only_when_they_are_enabled() -> None:
    assert not loaded_by("gatewayx.server.supervisor", SERVICE_LEVELS)
    assert not loaded_by("gatewayx.cli.program", SERVICE_LEVELS - {"gatewayx.slo"})


SERVICE_LEVELS = {"sqlalchemy", "alembic", "httpx", "gatewayx.slo"}


def loaded_by(module: str, suspects: set[str]) -> str:
    """Which of the suspects a process has after it has imported a module."""
    script = f"import sys, {module}; print(*sorted({suspects!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
