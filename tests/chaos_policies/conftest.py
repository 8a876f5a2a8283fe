"""A gateway of two workers with a superuser's client, and ways to ask it many times."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gatewayx.cli.client import AdminClient
from tests.support.caller import Caller
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess
from tests.support.http1 import Response
from tests.support.upstream import ScriptedUpstream

Start = Callable[..., Awaitable["Faulted"]]


class Faulted:
    """A running gateway.

    Attributes:
        process: Its process.
        client: Its admin API.
    """

    def __init__(self, process: GatewayProcess) -> None:
        self.process = process
        self.client = AdminClient(f"127.0.0.1:{process.admin_port}", ADMIN_TOKEN)

    async def apply(self, name: str = "p", **fault: Any) -> None:
        await asyncio.to_thread(self.client.post, "/v1/policies", policy(name, **fault))

    async def status(self, name: str = "p") -> dict[str, Any]:
        found = await asyncio.to_thread(self.client.get, f"/v1/policies/{name}/status")
        assert isinstance(found, dict)
        return found

    async def ask(self, count: int, *, callers: int = 8, target: str = "/") -> list[Response]:
        """So many requests over several connections, and so over all workers."""

        async def one(share: int) -> list[Response]:
            caller = await Caller.connect(self.process.port)
            try:
                return [await caller.get(target) for _ in range(share)]
            finally:
                await caller.close()

        shares = [count // callers + (index < count % callers) for index in range(callers)]
        found = await asyncio.gather(*map(one, shares))
        return [response for responses in found for response in responses]


def policy(name: str = "p", **fault: Any) -> dict[str, Any]:
    match = fault.pop("match", {})
    rules = [{"match": match, "fault": {"percentage": 100, **fault}}]
    return {"metadata": {"name": name}, "spec": {"rules": rules}}


def statuses(responses: list[Response]) -> Counter[int]:
    return Counter(response.status for response in responses)


@pytest.fixture
async def start(tmp_path: Path, upstream: ScriptedUpstream) -> AsyncIterator[Start]:
    processes: list[GatewayProcess] = []

    async def start_one(*, workers: int = 2, **options: Any) -> Faulted:
        proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url, **options}
        process = GatewayProcess(tmp_path, {"workers": workers, "proxies": [proxy]})
        processes.append(process)
        await asyncio.to_thread(process.start)
        return Faulted(process)

    yield start_one
    for process in processes:
        try:
            await asyncio.to_thread(process.stop)
        finally:
            await asyncio.to_thread(process.kill)
