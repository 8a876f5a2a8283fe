"""The runner judged by what others measured: its outcomes for real peers are the recorded ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import uvloop

from tests.hostile.campaign import Campaign
from tests.hostile.cases import load_cases
from tests.support.peers import executable

# The versions whose outcomes the case file records, and the cases that are theirs to time.
_MEASURED = {"nginx": "1.22", "haproxy": "2.6"}
_DEPENDS_ON_TIMING = {
    "rl-09",
    "r-garbage",
    "r-status-4digit",
    "r-status-099",
    "r-cl-neg",
    "r-te-unknown",
}


def _version(name: str) -> str:
    path = executable(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    shown = subprocess.run([path, "-v"], capture_output=True, text=True, check=False)
    return shown.stdout + shown.stderr


@pytest.mark.timeout(120)
@pytest.mark.parametrize("peer", sorted(_MEASURED))
def test_outcomes_are_the_recorded_ones(peer: str, tmp_path: Path) -> None:
    if f"{_MEASURED[peer]}." not in _version(peer):
        pytest.skip(f"the record is of {peer} {_MEASURED[peer]}")
    cases = [
        case
        for case in load_cases()
        if case.id not in _DEPENDS_ON_TIMING
        and not case.is_slow
        and peer in case.data.get("peers", {})
    ]
    results = uvloop.run(Campaign(peer, tmp_path, cases).run([(case, "whole") for case in cases]))
    measured = {
        case_id: result.worst.label for (case_id, _), result in results.items() if result.worst
    }
    recorded = {case.id: case.data["peers"][peer] for case in cases}
    assert measured == recorded
