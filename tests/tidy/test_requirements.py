"""The map of requirements is complete, and every test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.tidy.rust_source import code_of
from tests.tidy.tree import text_of, tracked

PAGE = Path("docs/REQUIREMENTS.md")

NUMBERS = [
    *(f"FR-{n:03}" for n in range(1, 22)),
    *(f"NFR-{n:03}" for n in range(1, 7)),
    *(f"SC-{n:03}" for n in range(1, 7)),
    *(f"EC-{n:03}" for n in range(1, 6)),
    *(f"PN-{n:03}" for n in range(1, 6)),
    *(f"SAFE-{n}" for n in range(1, 4)),
    "COV",
    *(f"W-{n:03}" for n in range(1, 17)),
    *(f"S-A{n}" for n in range(1, 6)),
    *(f"S-M{n}" for n in range(1, 5)),
    "S-E2E",
    "S-UI",
]

# Speed is for benchmarks: a timed test tells more of the machine than of the code.
_BENCHMARK = re.compile(r"by benchmark: `([^`\s]+)`")
_TEST_ID = re.compile(r"`([^`\s]+)::(\w+)`")


def rows() -> list[tuple[list[str], str]]:
    """The numbers of each row, a range written out, and what stands in its tests column."""
    found: list[tuple[list[str], str]] = []
    for line in text_of(PAGE).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 3 or cells[0] in ("Number", "---"):
            continue
        first, _, last = cells[0].partition(" to ")
        span = slice(NUMBERS.index(first), NUMBERS.index(last or first) + 1)
        found.append((NUMBERS[span], cells[2]))
    return found


@cache
def names_in(file: Path) -> frozenset[str]:
    """The functions that a source file defines."""
    if file.suffix == ".rs":
        return frozenset(re.findall(r"\bfn\s+(\w+)", code_of(text_of(file))))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        node.name for node in ast.walk(ast.parse(text_of(file))) if isinstance(node, kinds)
    )


def test_every_number_is_there_once() -> None:
    assert [number for numbers, _ in rows() for number in numbers] == NUMBERS


@pytest.mark.parametrize(("numbers", "tests"), rows(), ids=[row[0][0] for row in rows()])
def test_every_test_that_is_named_exists(numbers: list[str], tests: str) -> None:
    named = _TEST_ID.findall(tests)
    measured = _BENCHMARK.match(tests)
    assert named or measured or tests == "not yet", f"{numbers[0]}: name a test, or say: not yet"
    if measured:
        assert Path(measured[1]) in tracked(), f"{numbers[0]}: {measured[1]} is not there"
    for file, name in named:
        assert Path(file) in tracked(), f"{numbers[0]}: {file} is not there"
        assert name in names_in(Path(file)), f"{numbers[0]}: {file} has no {name}"


def test_a_row_that_is_in_part_says_so_first() -> None:
    for numbers, tests in rows():
        assert tests == "not yet" or re.match(r"in part \(|by benchmark: |`", tests), numbers[0]
