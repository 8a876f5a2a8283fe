"""Plays the cases against nginx, HAProxy, Envoy or this gateway and compares with what was
measured.

`python -m tests.hostile.peers nginx [--mode whole] [--case ID ...]`. The exit status is 0
when every outcome is the recorded one. The records are of one version of each peer and one
configuration, so a difference is something to look at, not a fault.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import uvloop

from tests.hostile.campaign import MODES, Campaign, Result
from tests.hostile.cases import load_cases


def recorded(result: Result, peer: str) -> str | None:
    record = result.case.data.get("peers", {}).get(peer)
    return None if record is None else str(record)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=["nginx", "haproxy", "envoy", "gatewayx"])
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--case", action="append")
    parser.add_argument("--verbose", action="store_true", help="show every failed run in full")
    options = parser.parse_args()

    cases = [case for case in load_cases() if not options.case or case.id in options.case]
    modes = options.mode or ["whole"]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gx-hostile-") as directory:
        campaign = Campaign(options.peer, Path(directory), cases)
        results = uvloop.run(campaign.run([(case, mode) for mode in modes for case in cases]))

    outcomes: Counter[str] = Counter()
    through = differences = runs = 0
    for result in results.values():
        runs += result.runs_count
        verdict = result.worst
        if verdict is None:
            continue
        outcomes[verdict.outcome] += 1
        through += verdict.let_through
        known = recorded(result, options.peer)
        differs = result.mode == "whole" and known is not None and verdict.label != known
        differences += differs
        if differs:
            print(f"{result.case.id}: {verdict.label}, recorded {known}; {verdict.problems}")
        if verdict.outcome == "failed" and options.verbose:
            print(*result.failures, sep="\n\n", end="\n\n")
        elif verdict.outcome == "failed":
            print(f"FAILED {result.mode} {result.case.id}: {verdict.label}: {verdict.problems}")
    seconds = time.monotonic() - started
    print(
        f"{options.peer}: {dict(outcomes)}, {through} let through, "
        f"{differences} unlike the record, "
        f"{len(campaign.strays)} strays, {runs} runs in {seconds:.1f} s"
    )
    for stray in campaign.strays[:5]:
        print(f"stray: {stray}")
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
