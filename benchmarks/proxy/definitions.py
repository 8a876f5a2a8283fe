"""What is measured: `definitions.toml` as typed records.

Adding a peer or a cell is an edit of that file and, for a peer, a template in `configs/`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent
DIRECT = "direct"
"""The origin measured without a proxy, for the latency that a proxy adds."""

_PLACEHOLDER = re.compile(r"<<(\w+)>>")


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the matrix: responses of this size over this many connections."""

    body_bytes: int
    connections: int

    @property
    def name(self) -> str:
        return f"{size_name(self.body_bytes)} body, {self.connections} connections"


@dataclass(frozen=True, slots=True)
class Suite:
    """Cells and how long each is measured."""

    cells: tuple[Cell, ...]
    rounds: int
    seconds: int
    warmup_seconds: int


@dataclass(frozen=True, slots=True)
class PeerDefinition:
    """How to run one proxy. Texts hold `<<name>>` placeholders; `fill` replaces them."""

    name: str
    command: tuple[str, ...]
    version: tuple[str, ...]
    config: Path
    access_log: Mapping[str, str]
    environment: Mapping[str, str]
    traffic: str | None
    """In the command line of the processes that carry traffic; absent: the process started."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """The whole file."""

    baseline: str
    request_headers: tuple[str, ...]
    forwarded_headers: tuple[str, ...]
    suites: Mapping[str, Suite]
    peers: Mapping[str, PeerDefinition]


def load(path: Path = DIRECTORY / "definitions.toml") -> Definitions:
    """Reads the definitions; a missing key is a `KeyError` that names it."""
    raw = tomllib.loads(path.read_text())
    return Definitions(
        baseline=raw["baseline"],
        request_headers=tuple(raw["request_headers"]),
        forwarded_headers=tuple(raw["forwarded_headers"]),
        suites={name: _suite(suite) for name, suite in raw["suites"].items()},
        peers={name: _peer(name, peer) for name, peer in raw["peers"].items()},
    )


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replaces every `<<name>>`; an unknown name is a `KeyError`."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def size_name(size_bytes: int) -> str:
    """`12 B`, `4 KiB`: the exact size, in the largest unit that keeps it whole."""
    whole_kib = size_bytes >= 1024 and size_bytes % 1024 == 0
    return f"{size_bytes // 1024} KiB" if whole_kib else f"{size_bytes} B"


def _suite(raw: Mapping[str, Any]) -> Suite:
    cells = tuple(Cell(body_bytes, connections) for body_bytes, connections in raw["cells"])
    return Suite(cells, raw["rounds"], raw["seconds"], raw["warmup_seconds"])


def _peer(name: str, raw: Mapping[str, Any]) -> PeerDefinition:
    return PeerDefinition(
        name=name,
        command=tuple(raw["command"]),
        version=tuple(raw["version"]),
        config=DIRECTORY / "configs" / raw["config"],
        access_log=raw["access_log"],
        environment=raw.get("environment", {}),
        traffic=raw.get("traffic"),
    )
