"""What is wrong with a configuration, and where.

A `Fault` is one problem at one place. `ConfigError` carries every fault of a source at once, so
that a person mends a file in one go. A message never repeats a header value, a URL's credentials or
an environment variable's content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

Location = tuple[str | int, ...]
"""The keys and list indexes that lead to a value, outermost first."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True)
class Fault:
    """One problem.

    Attributes:
        path: Where, as `proxies[0].timeout.dial`; empty for the whole document.
        message: What is wrong and, where it is known, what to write instead.
        file: The file's name as the user gave it, or None.
        line: Counted from 1, or None when the format does not tell.
        column: Counted from 1, or None when the format does not tell.
    """

    path: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None

    @property
    def place(self) -> str:
        """`file:line:column`, as much of it as is known."""
        parts = (self.file, self.line, self.column)
        return ":".join(str(part) for part in parts if part is not None)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.path, self.message) if part)


class ConfigError(Exception):
    """A configuration that cannot be used. Nothing has been changed because of it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def dotted(location: Location) -> str:
    """Write a location the way that users write it: `proxies[0].timeout.dial`."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.match(step):
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text
