"""A gateway of two workers as users run it, and an upstream to be broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import GatewayProcess
from tests.support.upstream import ScriptedUpstream

Start = Callable[..., Awaitable[GatewayProcess]]


@pytest.fixture
async def start(tmp_path: Path, upstream: ScriptedUpstream) -> AsyncIterator[Start]:
    """Starts a gateway; options are the proxy's, `settings` the gateway's."""
    gateways: list[GatewayProcess] = []

    async def start_one(
        settings: dict[str, Any] | None = None,
        environ: dict[str, str] | None = None,
        **options: Any,
    ) -> GatewayProcess:
        proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url, **options}
        config = {"workers": 2, "proxies": [proxy], **(settings or {})}
        gateway = GatewayProcess(tmp_path, config, environ=environ)
        if "access_log" in config:
            gateway.log_path = Path(config["access_log"]["path"])
        gateways.append(gateway)
        await asyncio.to_thread(gateway.start)
        return gateway

    yield start_one
    for gateway in gateways:
        await asyncio.to_thread(gateway.kill)
