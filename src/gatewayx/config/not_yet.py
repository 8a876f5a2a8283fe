"""What the documentation names and this version does not do yet.

An option that is silently ignored is worse than one that is refused, so each row here refuses one.
When a part is built, its row is deleted (and the model gains the key, where it has none yet).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gatewayx.config.fault import Location


class NotYet(NamedTuple):
    """One refused option.

    Attributes:
        keys: The way to it; `*` stands for every item of a list.
        refused: Whether this value asks for what is not there.
        wanted: What the user asked for, in words.
    """

    keys: tuple[str, ...]
    refused: Callable[[object], bool]
    wanted: str


def _given(value: object) -> bool:
    return value is not None


NOT_YET = (
    NotYet(("buffers", "count"), _given, "a bound on pooled buffers"),
    NotYet(("stats",), _given, "a stats matcher"),
    NotYet(("proxy_from_environment",), _given, "a forward proxy to the upstream"),
)


def refused_options(data: object) -> Iterator[tuple[Location, str]]:
    """Where data asks for something that this version does not do, and the words for it."""
    for row in NOT_YET:
        for location, value in _at(data, row.keys, ()):
            if row.refused(value):
                yield location, f"{row.wanted} is not supported in this version"


def _at(
    data: object, keys: tuple[str, ...], location: Location
) -> Iterator[tuple[Location, object]]:
    if not keys:
        yield location, data
    elif keys[0] == "*":
        if isinstance(data, list | tuple):
            for index, item in enumerate(data):
                yield from _at(item, keys[1:], (*location, index))
    elif isinstance(data, dict) and keys[0] in data:
        yield from _at(data[keys[0]], keys[1:], (*location, keys[0]))
