"""A gateway for one test: inside the test's own loop, or as the server process that users run."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gatewayx import Gateway
from tests.support.gateway import GatewayProcess, Samples, samples_of_families
from tests.support.waiting import eventually


class Serving(Protocol):
    """What tests ask of a running gateway."""

    port: int

    async def metrics(self) -> Samples: ...

    async def access_log(self, lines: int) -> list[dict[str, Any]]: ...

    async def stop(self) -> None: ...


class EmbeddedServing:
    """`gatewayx.Gateway` on the running loop."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self._log_path = directory / "access.log"
        log = {"access_log": {"enabled": True, "path": str(self._log_path)}}
        self.gateway = Gateway({**log, **config})
        self.port = 0

    async def start(self) -> EmbeddedServing:
        await self.gateway.start()
        self.port = int(self.gateway.url.rpartition(":")[2])
        return self

    async def metrics(self) -> Samples:
        return samples_of_families(self.gateway.metrics())

    async def access_log(self, lines: int) -> list[dict[str, Any]]:
        await eventually(
            lambda: len(_records(self._log_path)) >= lines, f"line {lines} of the access log"
        )
        return _records(self._log_path)

    async def stop(self) -> None:
        await self.gateway.stop()


class ProcessServing:
    """`python -m gatewayx serve` with one worker."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self.process = GatewayProcess(directory, config)
        self.port = self.process.port

    async def start(self) -> ProcessServing:
        await asyncio.to_thread(self.process.start)
        return self

    async def metrics(self) -> Samples:
        return await asyncio.to_thread(self.process.metrics)

    async def access_log(self, lines: int) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.process.access_log, lines=lines)

    async def stop(self) -> None:
        try:
            await asyncio.to_thread(self.process.stop)
        finally:
            await asyncio.to_thread(self.process.kill)


def _records(path: Path) -> list[dict[str, Any]]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


async def settled(serving: Serving, seconds: float = 10.0) -> Samples:
    """Waits until nothing is under way any more; fails with what is left over."""
    deadline = time.monotonic() + seconds
    while True:
        samples = await serving.metrics()
        left = {
            "exchanges": samples.total("gateway_active_connections"),
            "callers": samples.total("gateway_downstream_connections"),
            "busy upstream connections": samples.total(
                "gateway_upstream_connections", state="active"
            ),
            "permits": samples.total("gateway_limiter_in_use"),
            "queued": samples.total("gateway_limiter_queued"),
        }
        if not any(left.values()):
            return samples
        if time.monotonic() > deadline:
            raise AssertionError(f"left over: { {k: v for k, v in left.items() if v} }")
        await asyncio.sleep(0.02)
