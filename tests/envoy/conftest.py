"""Envoys with the plugin in front of one upstream, and callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.process import Configuration, EnvoyProcess
from tests.support.caller import Caller
from tests.support.upstream import ScriptedUpstream

Run = Callable[..., Awaitable[EnvoyProcess]]
Connect = Callable[[EnvoyProcess], Awaitable[Caller]]


@pytest.fixture
async def run(upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Run]:
    """Starts Envoys: `run(configuration, **options)`; none may have crashed by the end."""
    started: list[EnvoyProcess] = []

    async def start(configuration: Configuration, **options: Any) -> EnvoyProcess:
        directory = tmp_path / f"envoy-{len(started)}"
        directory.mkdir()
        envoy = EnvoyProcess(directory, upstream.port, configuration, **options)
        await asyncio.to_thread(envoy.start)
        started.append(envoy)
        return envoy

    yield start
    crashed = [envoy.output() for envoy in started if not envoy.is_running()]
    for envoy in started:
        await asyncio.to_thread(envoy.stop)
    assert not crashed
    for envoy in started:
        assert "panicked" not in envoy.output(), envoy.output()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects callers, and hangs up for those that did not."""
    callers: list[Caller] = []

    async def open_one(envoy: EnvoyProcess) -> Caller:
        caller = await Caller.connect(envoy.port)
        callers.append(caller)
        return caller

    yield open_one
    for caller in callers:
        await caller.close()
