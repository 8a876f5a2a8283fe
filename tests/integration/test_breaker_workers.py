"""The breaker's window and an operator's orders, with two workers that share them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.integration.test_resilience import failing
from tests.integration.test_workers import start, upstream
from tests.support.caller import Caller
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection

__all__ = ["start", "upstream"]

CALLERS_COUNT = 24


async def ask_all(port: int, path: str, count: int = CALLERS_COUNT) -> Counter[int]:
    """Statuses of so many requests, one after the other, each on a connection of its own: so both
    workers get some."""
    seen: Counter[int] = Counter()
    for _ in range(count):
        caller = await Caller.connect(port)
        seen[(await caller.get(path)).status] += 1
        await caller.close()
    return seen


async def test_the_window_is_one_for_all_workers(start, upstream: ScriptedUpstream) -> None:  # type: ignore[no-untyped-def]
    upstream.on("/bad", failing)
    window = {"volume_min": 10, "failure_percent": 100, "length": 60}
    breaker = {"enabled": True, "failure_threshold": 0, "window": window}
    gateway = await start(circuit_breaker=breaker)
    assert await ask_all(gateway.port, "/bad") == {500: 10, 503: CALLERS_COUNT - 10}
    assert len(upstream.requests) == 10


async def test_no_sixth_failure_is_forwarded_by_any_worker(  # type: ignore[no-untyped-def]
    start, upstream: ScriptedUpstream
) -> None:
    upstream.on("/bad", failing)
    breaker = {"enabled": True, "recovery_timeout": 0.5, "recovery_jitter_percent": 100}
    gateway = await start(circuit_breaker=breaker)
    assert await ask_all(gateway.port, "/bad") == {500: 5, 503: CALLERS_COUNT - 5}
    inside = 0
    most = 0
    release = asyncio.Event()

    async def probe(request: Request, connection: UpstreamConnection) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await release.wait()
        inside -= 1
        await connection.respond(200, b"well")

    upstream.on("/probe", probe)
    await asyncio.sleep(1.1)
    callers = [await Caller.connect(gateway.port) for _ in range(10)]
    for caller in callers:
        await caller.request("GET", "/probe")
    refused = [asyncio.create_task(caller.response()) for caller in callers]
    await asyncio.wait(refused, timeout=0.3)
    release.set()
    assert Counter([(await answer).status for answer in refused]) == {200: 1, 503: 9}
    assert most == 1
    for caller in callers:
        await caller.close()


def _breaker(gateway: GatewayProcess, action: str) -> subprocess.CompletedProcess[str]:
    address = f"127.0.0.1:{gateway.admin_port}"
    command = ["breaker", "sidecar", action, "--admin", address, "--token", ADMIN_TOKEN]
    return subprocess.run(
        [sys.executable, "-m", "gatewayx", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_an_operator_opens_closes_and_resets_it_in_every_worker(  # type: ignore[no-untyped-def]
    start, upstream: ScriptedUpstream
) -> None:
    upstream.on("/bad", failing)
    gateway = await start(circuit_breaker={"enabled": True, "failure_threshold": 2})
    done = await asyncio.to_thread(_breaker, gateway, "open")
    assert (done.returncode, done.stdout) == (0, "sidecar: open\n")
    assert await ask_all(gateway.port, "/fine") == {503: CALLERS_COUNT}
    samples = await asyncio.to_thread(gateway.metrics)
    assert samples.total("gateway_circuit_breaker_state") == 1
    assert (await asyncio.to_thread(_breaker, gateway, "close")).returncode == 0
    assert await ask_all(gateway.port, "/bad") == {500: CALLERS_COUNT}
    path = "/api/gateway/proxies/sidecar/breaker"
    status, body = await asyncio.to_thread(gateway.admin, "GET", path)
    assert (status, json.loads(body)) == (200, {"proxy": "sidecar", "state": "closed"})
    assert (await asyncio.to_thread(_breaker, gateway, "reset")).stdout == "sidecar: auto\n"
    assert await ask_all(gateway.port, "/bad") == {500: 2, 503: CALLERS_COUNT - 2}


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_reset_needs_a_breaker(start, enabled: bool) -> None:  # type: ignore[no-untyped-def]
    gateway = await start(circuit_breaker={"enabled": enabled})
    done = await asyncio.to_thread(_breaker, gateway, "reset")
    assert done.returncode == (0 if enabled else 1)
    assert enabled or "has no circuit breaker" in done.stderr
