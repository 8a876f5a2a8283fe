"""Options and markers of the whole suite."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.upstream import ScriptedUpstream


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run what takes minutes")
    parser.addoption(
        "--gateway",
        default="embedded",
        choices=["embedded", "process"],
        help="how the integration tests run the gateway: in their own loop, or as a server",
    )
    parser.addoption(
        "--hostile-proxy",
        default="gatewayx",
        choices=["gatewayx", "nginx", "haproxy", "envoy"],
        help="what the hostile cases are played against",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; runs only with --slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    await scripted.start()
    yield scripted
    await scripted.stop()
