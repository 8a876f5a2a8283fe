"""Tokens that have no place in production code, each with what to write instead."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.tidy.rust_source import production_code_of
from tests.tidy.tree import ROOT, sources, text_of


class Banned(NamedTuple):
    """One banned token: its pattern, the paths where it is at home, and its replacement."""

    name: str
    pattern: str
    allowed: tuple[str, ...]
    instead: str


DRIVER = ("native/python/",)

RUST = (
    Banned("clock", r"\b(?:Instant|SystemTime)\s*::\s*now\b", DRIVER, "take `now` as a parameter"),
    Banned("sleep", r"\bthread\s*::\s*sleep\b", DRIVER, "return a deadline from poll_deadline()"),
    Banned("net", r"\bstd\s*::\s*(?:net|os)\b", DRIVER, "emit an action; the driver does the I/O"),
    Banned("fs", r"\bstd\s*::\s*(?:fs|process)\b", DRIVER, "take the bytes as a parameter"),
    Banned("env", r"\bstd\s*::\s*env\b", DRIVER, "take the value from the compiled configuration"),
    Banned("thread", r"\bstd\s*::\s*thread\b", DRIVER, "the engine is single-threaded"),
    Banned("pyo3", r"\bpyo3\b", DRIVER, "put the Python face into native/python"),
    Banned("unwrap", r"\.unwrap\(\)", (), "`expect` with the invariant, or an error value"),
    Banned("debug", r"\b(?:dbg|todo|unimplemented)!", (), "finish the code"),
    Banned("print", r"\be?print(?:ln)?!", (), "return an access record or a warning action"),
    Banned("silenced", r"#!?\[allow\(", (), "mend it, or `#[expect(..., reason = ...)]`"),
)

EXAMPLES = {
    "clock": "let now = std::time::Instant::now();",
    "sleep": "std::thread::sleep(second);",
    "net": "use std::net::TcpStream;",
    "fs": "std::fs::read(path)",
    "env": "std :: env::var(name)",
    "thread": "std::thread::spawn(work)",
    "pyo3": "use pyo3::prelude::*;",
    "unwrap": "value.unwrap();",
    "debug": "dbg!(value)",
    "print": "eprintln!(text)",
    "silenced": "#[allow(dead_code)]",
}


@pytest.mark.parametrize("banned", RUST, ids=lambda banned: banned.name)
def test_each_pattern_finds_its_token(banned: Banned) -> None:
    code = f"fn f() {{}}\n// {EXAMPLES[banned.name]}\n{EXAMPLES[banned.name]}\n"
    assert places(production_code_of(code), banned.pattern) == [3]


UNSAFE_FILES = {
    # native/telemetry: the shared region is memory that other processes write.
    "native/telemetry/src/region.rs",
    "native/telemetry/src/cells.rs",
}
"""Files that may hold `unsafe`; native/python is apart, since it speaks with C."""

NOT_PRODUCTION = re.compile(r"/(?:tests|benches|examples)/|/tests\.rs$|_tests?\.rs$|/oracle\.rs$")


def rust_code() -> list[tuple[Path, str]]:
    """Production Rust of the workspace; the fuzz targets and the simulator only ever test."""
    names = [name for name in sources(".rs", under="native") if _is_production(name)]
    return [(name, production_code_of(text_of(name))) for name in names]


def _is_production(name: Path) -> bool:
    dev_only = name.is_relative_to("native/fuzz") or name.is_relative_to("native/simulator")
    return not dev_only and not NOT_PRODUCTION.search(f"/{name}")


def places(code: str, pattern: str) -> list[int]:
    """The lines on which a pattern is found."""
    return [code.count("\n", 0, match.start()) + 1 for match in re.finditer(pattern, code)]


@pytest.mark.parametrize("banned", RUST, ids=lambda banned: banned.name)
def test_banned_tokens_in_rust(banned: Banned) -> None:
    wrong = [
        f"{name}:{line}: {banned.instead}"
        for name, code in rust_code()
        if not name.as_posix().startswith(banned.allowed)
        for line in places(code, banned.pattern)
    ]
    assert not wrong, "\n".join(wrong)


def test_unsafe_stays_in_the_listed_files() -> None:
    found = {
        name.as_posix(): places(code, r"\bunsafe\b(?!_)")
        for name, code in rust_code()
        if not name.is_relative_to("native/python")
    }
    with_unsafe = {name for name, lines in found.items() if lines}
    wrong = [f"{name}:{found[name][0]}" for name in sorted(with_unsafe - UNSAFE_FILES)]
    assert not wrong, f"write safe code, or list the file with its reason: {wrong}"
    assert with_unsafe >= UNSAFE_FILES, f"free of unsafe; unlist: {UNSAFE_FILES - with_unsafe}"


PYTHON = (
    Banned(
        "old loop",
        r"\bget_event_loop\b",
        (),
        "asyncio.get_running_loop()",
    ),
    Banned(
        "streams",
        r"\basyncio\.(?:open_connection|start_server)\b",
        ("src/gatewayx/server/control.py", "src/gatewayx/server/probe.py", "src/gatewayx/slo/"),
        "a protocol class",
    ),
    Banned(
        "print",
        r"(?m)^\s*print\(",
        ("src/gatewayx/cli/", "src/gatewayx/config/reference.py"),
        "logging, or return it to cli/",
    ),
    Banned("shell", r"\bshell=True\b|\bos\.system\b", (), "a list of arguments"),
)


@pytest.mark.parametrize("banned", PYTHON, ids=lambda banned: banned.name)
def test_banned_tokens_in_python(banned: Banned) -> None:
    wrong = [
        f"{name}:{line}: {banned.instead}"
        for name in sources(".py", under="src")
        if not name.as_posix().startswith(banned.allowed)
        for line in places(text_of(name), banned.pattern)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_project_does_not_name_the_place_where_it_was_made() -> None:
    parent = f"{ROOT.parent}/"
    if len(parent) < 4:
        pytest.skip("the checkout is at the root")
    suffixes = (".py", ".rs", ".md", ".toml", ".yaml", ".json", ".sh", ".cfg", "")
    wrong = [
        str(name) for name in sources(*suffixes) if parent.encode() in (ROOT / name).read_bytes()
    ]
    assert not wrong, f"these name {parent}: {wrong}"
