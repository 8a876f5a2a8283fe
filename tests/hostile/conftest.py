"""Runs the campaign once, for the cases that were selected, and sums it up at the end."""

from __future__ import annotations

from collections import Counter

import pytest
import uvloop

from tests.hostile.campaign import Campaign, Result

_CAMPAIGN_TIMEOUT_SECONDS = 600


class Outcome:
    """The finished campaign."""

    def __init__(self, campaign: Campaign, results: dict[tuple[str, str], Result]) -> None:
        self.strays = campaign.strays
        self.results = results


_OUTCOME = pytest.StashKey[Outcome]()


@pytest.fixture(scope="session")
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Every selected (case, mode), played against running gateways."""
    wanted = [
        (item.callspec.params["case"], item.callspec.params["mode"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and {"case", "mode"} <= item.callspec.params.keys()
    ]
    campaign = Campaign(
        request.config.getoption("--hostile-proxy"),
        tmp_path_factory.mktemp("hostile"),
        [case for case, _ in wanted],
    )
    results = uvloop.run(campaign.run(wanted))
    done = request.config.stash[_OUTCOME] = Outcome(campaign, results)
    return done


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The first test of the session waits for the whole campaign.
    for item in items:
        if "outcome" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(_CAMPAIGN_TIMEOUT_SECONDS))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    done = config.stash.get(_OUTCOME, None)
    if done is None:
        return
    worst: dict[str, str] = {}
    rank = ("strict", "tolerated", "failed")
    through: set[str] = set()
    for result in done.results.values():
        if result.worst is None:
            continue
        known = worst.get(result.case.id, "strict")
        outcome = "failed" if result.failures else result.worst.outcome
        worst[result.case.id] = max(known, outcome, key=rank.index)
        if result.worst.let_through:
            through.add(result.case.id)
    counts = Counter(worst.values())
    runs = sum(result.runs_count for result in done.results.values())
    terminalreporter.write_sep(
        "-",
        f"hostile: {len(worst)} cases, {counts['strict']} strict, {counts['tolerated']} tolerated, "
        f"{counts['failed']} failed, {len(through)} let through; {runs} runs",
    )
    tolerated = sorted(case for case, outcome in worst.items() if outcome == "tolerated")
    if tolerated:
        terminalreporter.write_line(f"tolerated: {' '.join(tolerated)}")
