"""Where the keys and values of a JSON text stand.

`json.loads` keeps no positions. This walks a text that `json.loads` has already accepted, so it
checks nothing: it only follows the structure and notes line and column. Linear in the text.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right

from gatewayx.config.fault import Location

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCALAR = re.compile(r"[^,\]}\s]+")


def _end(pattern: re.Pattern[str], text: str, index: int) -> int:
    match = pattern.match(text, index)
    assert match is not None, "the text is valid JSON"
    return match.end()


class JsonPlaces:
    """The places of one valid JSON text.

    Attributes:
        keys: Where each key is written.
        values: Where each value starts.
        repeated: Keys that their object already had, with their places.
    """

    def __init__(self, text: str) -> None:
        self.keys: dict[Location, tuple[int, int]] = {}
        self.values: dict[Location, tuple[int, int]] = {}
        self.repeated: list[tuple[Location, tuple[int, int]]] = []
        self._text = text
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._value((), 0)

    def _mark(self, index: int) -> tuple[int, int]:
        line = bisect_right(self._line_starts, index)
        return line, index - self._line_starts[line - 1] + 1

    def _skip_space(self, index: int) -> int:
        return _end(_SPACE, self._text, index)

    def _value(self, location: Location, index: int) -> int:
        """Note the value at or after `index`; return the index behind it and its spaces."""
        index = self._skip_space(index)
        self.values[location] = self._mark(index)
        match self._text[index]:
            case "{":
                index = self._members(location, index + 1)
            case "[":
                index = self._items(location, index + 1)
            case '"':
                index = _end(_STRING, self._text, index)
            case _:
                index = _end(_SCALAR, self._text, index)
        return self._skip_space(index)

    def _members(self, location: Location, index: int) -> int:
        index = self._skip_space(index)
        while self._text[index] != "}":
            start = self._skip_space(index)
            index = _end(_STRING, self._text, start)
            inner = (*location, json.loads(self._text[start:index]))
            if inner in self.keys:
                self.repeated.append((inner, self._mark(start)))
            self.keys[inner] = self._mark(start)
            index = self._value(inner, self._skip_space(index) + 1)  # 1: the colon
            index += self._text[index] == ","
        return index + 1

    def _items(self, location: Location, index: int) -> int:
        index = self._skip_space(index)
        count = 0
        while self._text[index] != "]":
            index = self._value((*location, count), index)
            index += self._text[index] == ","
            count += 1
        return index + 1
