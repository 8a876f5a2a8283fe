"""The files of the project, as version control knows them."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def tracked() -> tuple[Path, ...]:
    """Every tracked file that is there, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = (Path(name) for name in listed.stdout.split("\0") if name)
    return tuple(name for name in names if (ROOT / name).is_file())


def sources(*suffixes: str, under: str = "") -> Iterator[Path]:
    """Tracked files with one of the suffixes, beneath a folder."""
    for name in tracked():
        if name.suffix in suffixes and name.is_relative_to(under):
            yield name


def text_of(name: Path) -> str:
    """The content of a tracked text file."""
    return (ROOT / name).read_text(encoding="utf-8")
