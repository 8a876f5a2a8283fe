"""An upstream, gateways in front of it, callers; and nothing may be left of any of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.caller import Caller
from tests.support.serving import EmbeddedServing, ProcessServing, Serving, settled
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import eventually

Serve = Callable[..., Awaitable[Serving]]
Connect = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    await scripted.start()
    yield scripted
    try:
        await eventually(lambda: not scripted.open, "the end of all upstream connections")
        assert not scripted.faults, scripted.faults
    finally:
        await scripted.stop()


@pytest.fixture
async def serve(
    upstream: ScriptedUpstream, tmp_path: Path, pytestconfig: pytest.Config
) -> AsyncIterator[Serve]:
    """Starts gateways; `serve(**options)` has one proxy for everything with those options."""
    kind = ProcessServing if pytestconfig.getoption("--gateway") == "process" else EmbeddedServing
    started: list[Serving] = []

    async def start(*, config: dict[str, Any] | None = None, **options: Any) -> Serving:
        sections = ("auth", "tracing", "downstream", "upstream_pool", "buffers", "drain_timeout")
        top = {name: options.pop(name) for name in sections if name in options}
        proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url, **options}
        directory = tmp_path / f"gateway-{len(started)}"
        directory.mkdir()
        serving = await kind(directory, config or {**top, "proxies": [proxy]}).start()
        started.append(serving)
        return serving

    yield start
    try:
        for serving in started:
            await settled(serving)
    finally:
        for serving in started:
            await serving.stop()


@pytest.fixture
async def connect(serve: Serve) -> AsyncIterator[Connect]:
    """Connects callers, and hangs up for those that did not."""
    callers: list[Caller] = []

    async def open_one(serving: Serving, **options: Any) -> Caller:
        caller = await Caller.connect(serving.port, **options)
        callers.append(caller)
        return caller

    yield open_one
    for caller in callers:
        await caller.close()
