"""The hostile cases as typed data: what is sent, what is answered, what has to come of it."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.support.http1 import NotHttp, read_response
from tests.support.readings import Seen, read_with_h11, read_with_httptools
from tests.support.recorder import Script

FILES = ("http1-cases.json", "more-cases.json")

_KNOWN_KEYS = {
    "id", "side", "raw", "category", "expected", "notes", "rfc", "max_upstream_requests",
    "min_upstream_requests", "peers", "peers_source", "forbid_upstream", "accept", "expect_status",
    "forbid_client", "upstream_raw", "repeat", "needs_config", "half_close", "segments",
    "upstream_close", "upstream_rst", "upstream_stall", "upstream_early", "keepalive",
    "forbid_trailer", "followup", "late_raw", "late_ms", "require_upstream", "avoid_upstream",
    "client_rst",
}  # fmt: skip

# Outcomes that only time can bring about: run beside each other, on a gateway of their own.
_SLOW_NOTES = re.compile(r"timeout")


@dataclass
class Case:
    """One case of the data files, tokens expanded."""

    id: str
    side: str
    category: str
    raw: bytes
    expected: str
    accept: tuple[str, ...]
    expect_status: tuple[int, ...]
    upstream_raw: bytes | None
    segments: tuple[dict[str, Any], ...]
    data: dict[str, Any] = field(repr=False)

    @property
    def is_response(self) -> bool:
        return self.side == "response"

    @property
    def expects_rejection(self) -> bool:
        return self.expected.startswith("reject")

    @property
    def sent(self) -> bytes:
        """All that the caller sends, later segments included."""
        later = (part["send"] for part in self.segments if part.get("send", "head") != "head")
        return self.raw + "".join(later).encode("latin-1")

    @property
    def half_close(self) -> bool:
        return bool(self.data.get("half_close"))

    @property
    def client_rst(self) -> bool:
        """The caller resets the connection once everything is sent."""
        return bool(self.data.get("client_rst"))

    @property
    def max_upstream_requests(self) -> int:
        return int(self.data["max_upstream_requests"])

    @property
    def min_upstream_requests(self) -> int:
        return int(self.data.get("min_upstream_requests", 0))

    @property
    def keepalive(self) -> bool:
        return bool(self.data.get("keepalive"))

    @property
    def followup(self) -> bytes | None:
        text = self.data.get("followup")
        return None if text is None else text.encode("latin-1")

    @property
    def late_seconds(self) -> float:
        """When the upstream writes `late_raw`, after its answer; 0 when it has none."""
        return float(self.data.get("late_ms", 0)) / 1000

    @property
    def is_slow(self) -> bool:
        """Waits for a deadline, so it would hold up what runs after it."""
        return (
            bool(_SLOW_NOTES.search(self.data.get("needs_config", "")))
            or bool(self.segments)
            or bool(self.data.get("upstream_stall"))
        )

    @property
    def method(self) -> bytes:
        return self.raw.lstrip(b"\r\n").split(b" ", 1)[0]

    def needles(self, key: str) -> list[bytes]:
        """The byte strings of a `forbid_*`, `require_*` or `avoid_*` list."""
        return [text.encode("latin-1") for text in self.data.get(key, ())]

    @cached_property
    def upstream_status(self) -> int | None:
        """Status of the final response that the upstream sends, where it can be told."""
        if self.upstream_raw is None:
            return None
        codes = re.findall(rb"(?:^|\r\n)HTTP/[0-9.]+ ([0-9]+)", self.upstream_raw)
        finals = [int(code) for code in codes if not 100 <= int(code) < 200 or int(code) == 101]
        return finals[0] if finals else None

    @cached_property
    def surplus_at(self) -> int | None:
        """Where the upstream's bytes go on after a response that is complete without them."""
        raw, at = self.upstream_raw or b"", 0
        with contextlib.suppress(NotHttp):
            while (response := read_response(raw, at, self.method)) is not None:
                at = response.end
                if response.status >= 200:
                    return at if at < len(raw) else None
        return None

    @cached_property
    def meaning(self) -> list[Seen] | None:
        """What the caller's bytes mean to two parsers that agree on it; None when they do not."""
        by_h11, by_httptools = read_with_h11(self.sent), read_with_httptools(self.sent)
        if by_h11.requests != by_httptools.requests or by_h11.tail != by_httptools.tail:
            return None
        return by_h11.requests

    @property
    def path(self) -> bytes:
        """Where the script of a response case is found."""
        return self.raw.split(b" ", 2)[1]

    def script(self) -> Script | None:
        if self.upstream_raw is None:
            return None
        return Script(
            self.upstream_raw,
            close=bool(self.data.get("upstream_close")),
            reset=bool(self.data.get("upstream_rst")),
            early=bool(self.data.get("upstream_early")),
            late_raw=self.data.get("late_raw", "").encode("latin-1"),
            late_seconds=self.late_seconds,
            surplus_at=self.surplus_at,
        )


def _expand(text: str, repeats: list[dict[str, Any]]) -> bytes:
    for repeat in repeats:
        text = text.replace(repeat["token"], repeat["unit"] * repeat["count"])
    return text.encode("latin-1")


def parse_case(data: dict[str, Any]) -> Case:
    """Checks one object of a data file and makes a case of it."""
    unknown = set(data) - _KNOWN_KEYS
    if unknown:
        raise ValueError(f"{data.get('id')}: unknown keys {sorted(unknown)}")
    repeats = data.get("repeat", [])
    upstream = data.get("upstream_raw")
    return Case(
        id=data["id"],
        side=data["side"],
        category=data["category"],
        raw=_expand(data["raw"], repeats),
        expected=data["expected"],
        accept=tuple(data.get("accept", ())),
        expect_status=tuple(data.get("expect_status", ())),
        upstream_raw=None if upstream is None else _expand(upstream, repeats),
        segments=tuple(data.get("segments", ())),
        data=data,
    )


def load_cases() -> list[Case]:
    """All cases of both files, in order; ids are unique."""
    cases = [
        parse_case(data)
        for name in FILES
        for data in json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    ]
    ids = [case.id for case in cases]
    assert len(set(ids)) == len(ids), "case ids are not unique"
    return cases


# Bytes that one case may send in split deliveries, over all positions.
_SPLIT_BUDGET_BYTES = 600_000
_SPLIT_EDGE_MIN_COUNT = 3


def split_positions(case: Case) -> list[int]:
    """Where a case is cut in two: everywhere, or at both ends of one that is costly to play."""
    message = (case.upstream_raw or b"") if case.is_response else case.raw
    length = len(message)
    cost_bytes = len(case.raw) + len(case.upstream_raw or b"") + 400 * case.max_upstream_requests
    edge = max(_SPLIT_BUDGET_BYTES // cost_bytes // 2, _SPLIT_EDGE_MIN_COUNT)
    everywhere = range(1, length)
    positions = everywhere if length - 1 <= 2 * edge else [*everywhere[:edge], *everywhere[-edge:]]
    # Bytes that follow a complete response after a pause reach an idle connection, or, worse, the
    # answer to whatever was sent on it meanwhile: a race that no proxy can win, so not a case.
    return [at for at in positions if at != case.surplus_at]
