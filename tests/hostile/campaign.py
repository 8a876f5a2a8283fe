"""Plays all cases in all deliveries against one proxy, as close to each other as they bear.

- Whole and warm deliveries run one after the other, so that an upstream connection poisoned by a
  case is found by the plain GET right behind it. What waits for a deadline runs meanwhile on a
  second gateway.
- Split and byte-by-byte deliveries run many at once; the recorder tells them apart by their
  addresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.cases import Case, split_positions
from tests.hostile.judge import Verdict, judge
from tests.hostile.play import Delivery, Observation, plain_get, play
from tests.support.peers import RunningProxy, start_proxy
from tests.support.readings import read_with_h11
from tests.support.recorder import LAST, Exchange, Recorder

# Where plain GETs and follow-ups come from.
OWN_ADDRESS = "127.0.0.1"

MODES = ("whole", "warm", "split", "bytewise")

# Runs under way at once, where runs may overlap.
_OVERLAP_COUNT = 96
# A case is given up after so many failed positions; the rest would say the same.
_FAILURES_MAX_COUNT = 5


@dataclass(slots=True)
class Result:
    """The verdict of one case in one mode: the worst of its runs."""

    case: Case
    mode: str
    runs_count: int = 0
    worst: Verdict | None = None
    failures: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict, seen: Observation) -> None:
        rank = ("strict", "tolerated", "failed")
        self.runs_count += 1
        if self.worst is None or rank.index(verdict.outcome) > rank.index(self.worst.outcome):
            self.worst = verdict
        if verdict.outcome == "failed":
            self.failures.append(describe(verdict, seen))


def describe(verdict: Verdict, seen: Observation) -> str:
    """Everything that is needed to see why a run failed."""
    case = verdict.case
    lines = [
        f"{case.id} ({seen.delivery}): {verdict.label}",
        *(f"  - {problem}" for problem in verdict.problems),
        f"  rule: RFC {case.data['rfc']}: {case.data['notes']}",
        f"  sent: {_shorten(case.raw)}",
    ]
    if case.upstream_raw is not None:
        lines.append(f"  upstream sent: {_shorten(case.upstream_raw)}")
    lines.append(f"  caller got: {_shorten(seen.received)}{' [reset]' if seen.reset else ''}")
    lines += [
        f"  upstream got, connection {e.connection}: {_shorten(bytes(e.raw))}"
        for e in seen.exchanges
    ]
    return "\n".join(lines)


def _shorten(raw: bytes) -> str:
    return repr(raw) if len(raw) <= 700 else f"{raw[:400]!r} ... {raw[-100:]!r} ({len(raw)} bytes)"


def _is_own(exchange: Exchange) -> bool:
    """One whole request of the suite's own, and not a byte more."""
    reading = read_with_h11(bytes(exchange.raw))
    return (
        len(reading.requests) == 1
        and reading.tail == "clean"
        and reading.requests[0].target.startswith((b"/gx-", b"/up/r-ctl-"))
    )


def deliveries(case: Case, mode: str) -> list[Delivery]:
    """How a case is delivered in a mode; none where the mode has nothing to add."""
    if mode == "whole":
        return [Delivery()]
    if mode == "warm":
        return [] if case.is_slow else [Delivery(warm=True)]
    scripted = case.upstream_raw or b""
    length = len(scripted) if case.is_response else len(case.raw)
    if length < 2 or (case.is_slow and not case.is_response) or case.late_seconds:
        return []
    if mode == "bytewise":
        return [Delivery(byte_by_byte=True)] if length <= 2_000_000 else []
    return [Delivery(split_at=at) for at in split_positions(case)]


class Campaign:
    """One proxy under test, with its recorder; a second pair for what waits."""

    def __init__(self, proxy_name: str, directory: Path, cases: Iterable[Case]) -> None:
        self.proxy_name = proxy_name
        self.directory = directory
        self.scripts = {
            case.path: script for case in cases if (script := case.script()) is not None
        }
        self.strays: list[str] = []

    async def run(
        self, wanted: list[tuple[Case, str]], on_result: Callable[[Result], None] = lambda _: None
    ) -> dict[tuple[str, str], Result]:
        """Runs every wanted (case, mode); the results by case id and mode."""
        results: dict[tuple[str, str], Result] = {}

        def keep(result: Result) -> None:
            results[result.case.id, result.mode] = result
            on_result(result)

        def pick(*modes: str, slow: bool | None = None) -> list[tuple[Case, str]]:
            return [
                (case, mode)
                for mode in modes
                for case, wanted_mode in wanted
                if wanted_mode == mode and slow in (None, case.is_slow)
            ]

        async with Recorder() as first, Recorder() as second:
            proxies: list[RunningProxy] = []

            async def start(name: str, recorder: Recorder) -> int:
                recorder.scripts = self.scripts
                recorder.caller(OWN_ADDRESS)
                proxy = await asyncio.to_thread(
                    start_proxy,
                    self.proxy_name,
                    self.directory / f"{self.proxy_name}-{name}",
                    recorder.port,
                    patient=name == "patient",
                )
                proxies.append(proxy)
                return proxy.port

            try:
                patient, impatient = await asyncio.gather(
                    start("patient", first), start("impatient", second)
                )
                waiting = pick("whole", "split", "bytewise", slow=True)
                await asyncio.gather(
                    self._serially(pick("whole", "warm", slow=False), patient, first, keep),
                    self._together(waiting, impatient, second, keep),
                )
                await self._together(pick("split", "bytewise", slow=False), patient, first, keep)
            finally:
                for proxy in proxies:
                    await asyncio.to_thread(proxy.kill)
            self.strays = [
                _shorten(bytes(exchange.raw))
                for recorder in (first, second)
                for exchange in [*recorder.strays, *recorder.caller(OWN_ADDRESS).exchanges]
                if not _is_own(exchange)
            ]
        return results

    async def _serially(
        self,
        wanted: list[tuple[Case, str]],
        port: int,
        recorder: Recorder,
        keep: Callable[[Result], None],
    ) -> None:
        for case, mode in wanted:
            result = Result(case, mode)
            for delivery in deliveries(case, mode):
                seen = await play(case, delivery, port, recorder)
                seen.plain_get = await plain_get(port) or await plain_get(port, LAST)
                result.add(judge(case, seen), seen)
            keep(result)

    async def _together(
        self,
        wanted: list[tuple[Case, str]],
        port: int,
        recorder: Recorder,
        keep: Callable[[Result], None],
    ) -> None:
        gate = asyncio.Semaphore(_OVERLAP_COUNT)

        async def run_one(result: Result, delivery: Delivery) -> None:
            async with gate:
                if len(result.failures) >= _FAILURES_MAX_COUNT:
                    return
                seen = await play(result.case, delivery, port, recorder)
                result.add(judge(result.case, seen), seen)

        async def run_case(case: Case, mode: str) -> None:
            result = Result(case, mode)
            plan = deliveries(case, mode)
            await asyncio.gather(*(run_one(result, delivery) for delivery in plan))
            if plan and result.worst is not None and (problem := await plain_get(port)):
                result.failures.append(f"{case.id}: the plain GET that follows: {problem}")
            keep(result)

        # Cases are started a few at a time: a task for every run at once would be a hundred
        # thousand.
        starts = asyncio.Semaphore(24)

        async def start(case: Case, mode: str) -> None:
            async with starts:
                await run_case(case, mode)

        await asyncio.gather(*(start(case, mode) for case, mode in wanted))
