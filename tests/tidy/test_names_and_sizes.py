"""Names say what a thing is; files stay small enough to be read."""

import ast
import re
from pathlib import Path

from tests.tidy.rust_source import code_of
from tests.tidy.tree import sources, text_of

LINES_MAX = 600

LONG_FILES: dict[str, str] = {}
"""Files that may be longer, each with its reason."""

VAGUE = re.compile(r"(?:^|_)(?:utils?|helpers?|common|misc|managers?)(?:_|$)", re.IGNORECASE)
"""Words that say nothing about a thing."""

FOREIGN_NAMES = {"get_buffer", "get_route_handler"}
"""Methods whose names asyncio and FastAPI have chosen."""

UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")

_RUST_NAME = re.compile(r"\b(?:fn|struct|enum|trait|mod|type)\s+(?:r#)?([A-Za-z_]\w*)")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def test_files_are_small() -> None:
    lengths = {
        name.as_posix(): text_of(name).count("\n") for name in sources(".py", ".rs", ".ts", ".tsx")
    }
    long = {name for name, lines in lengths.items() if lines > LINES_MAX}
    wrong = [f"{name} ({lengths[name]})" for name in sorted(long - LONG_FILES.keys())]
    assert not wrong, f"split along a responsibility, or list with a reason: {wrong}"
    assert long >= LONG_FILES.keys(), f"short again; unlist: {LONG_FILES.keys() - long}"


def defined_names(name: Path) -> list[str]:
    """Everything that a source file gives a name to, and the file itself."""
    own = name.stem if name.stem not in ("__init__", "mod") else name.parent.name
    if name.suffix == ".rs":
        return [own, *_RUST_NAME.findall(code_of(text_of(name)))]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    tree = ast.parse(text_of(name))
    return [own, *(node.name for node in ast.walk(tree) if isinstance(node, kinds))]


def test_names_are_not_vague() -> None:
    wrong = [
        f"{name}: {defined}"
        for name in sources(".py", ".rs")
        for defined in defined_names(name)
        if VAGUE.search(_HUMP.sub("_", defined))
    ]
    assert not wrong, f"say what it is or does: {wrong}"


def test_accessors_are_named_for_what_they_give() -> None:
    wrong = [
        f"{name}: {defined}"
        for name in (*sources(".py", under="src"), *sources(".rs", under="native"))
        for defined in defined_names(name)
        if re.match(r"_*get_", defined) and defined not in FOREIGN_NAMES
    ]
    assert not wrong, f"drop the get_: {wrong}"


def test_nothing_is_left_for_later_in_a_comment() -> None:
    wrong = [
        f"{name}:{number}"
        for name in sources(".py", ".rs", ".ts", ".tsx", ".sh")
        if not name.is_relative_to("tests/tidy")
        for number, line in enumerate(text_of(name).splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not wrong, f"finish it, or refuse the case: {wrong}"
