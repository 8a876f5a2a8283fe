"""Every hostile case, in every delivery that adds something, against a gateway that really runs."""

from __future__ import annotations

import pytest

from tests.hostile.campaign import MODES, deliveries
from tests.hostile.cases import Case, load_cases
from tests.hostile.conftest import Outcome

_CASES = load_cases()
_MATRIX = [
    pytest.param(case, mode, id=f"{mode}-{case.id}")
    for mode in MODES
    for case in _CASES
    if deliveries(case, mode)
]


@pytest.mark.parametrize(("case", "mode"), _MATRIX)
def test_case(case: Case, mode: str, outcome: Outcome) -> None:
    result = outcome.results[case.id, mode]
    assert result.runs_count, "the case was not run"
    assert not result.failures, "\n\n".join(["", *result.failures[:3]])


def test_every_request_upstream_is_accounted_for(outcome: Outcome) -> None:
    assert outcome.strays == []
