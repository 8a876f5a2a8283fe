"""The same policies and the same traffic, through the gateway and through Envoy: the same happens.

Envoy polls the gateway's own control plane for the policies.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gatewayx.cli.client import AdminClient
from tests.envoy.conftest import Run
from tests.envoy.policies import abort, delay, policy, rule
from tests.envoy.process import ABORTS, DELAYS, DURATION, EnvoyProcess
from tests.support.caller import Caller
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess, Samples
from tests.support.upstream import ScriptedUpstream

Ask = tuple[str, str, tuple[tuple[str, str], ...]]

SELECTOR = {"service": "frontend", "namespace": "demo"}


def asks(count: int, *fields: tuple[str, str], path: str = "/", method: str = "GET") -> list[Ask]:
    return [(method, path, fields)] * count


@dataclass
class Case:
    """Policies, traffic, and what has to come of it: aborts and delays."""

    policies: list[dict[str, Any]]
    traffic: list[Ask]
    aborts: int | None
    delays: int | None


USERS = [("GET", "/", (("x-user", f"user-{n}"),)) for n in range(60)]
MATCH = {
    "method": {"exact": "GET"},
    "path": {"prefix": "/api/"},
    "headers": [{"name": "X-User-Id", "regex": "^test-[0-9]+$"}],
}

CASES = {
    "0 percent": Case([policy(abort(percentage=0), **SELECTOR)], asks(20), 0, 0),
    "100 percent": Case([policy(abort(), **SELECTOR)], asks(20), 20, 0),
    "a header matches": Case(
        [policy(rule(MATCH, abort={"httpStatus": 429}), **SELECTOR)],
        [
            *asks(3, ("x-user-id", "test-1"), path="/api/a?b=c"),
            *asks(3, ("X-USER-ID", "test-2"), path="/api/"),
            *asks(3, ("x-user-id", "prod-1"), path="/api/"),
            *asks(3, ("x-user-id", "test-1"), path="/apiary"),
            *asks(3, ("x-user-id", "test-1"), path="/api/", method="DELETE"),
        ],
        6,
        0,
    ),
    "a delay": Case([policy(delay(30), **SELECTOR)], asks(10), 0, 10),
    "an abort or a delay": Case(
        [policy(rule({"path": {"exact": "/slow"}}, delay={"fixed_delay_ms": 20}), abort(504))],
        [*asks(5, path="/slow"), *asks(7)],
        7,
        5,
    ),
    "a delay, then an abort": Case(
        [policy(rule(delay={"fixed_delay_ms": 20}, abort={"httpStatus": 503}))], asks(6), 6, 6
    ),
    "another service": Case([policy(abort(), service="backend")], asks(5), 0, 0),
    "a seed": Case([policy(abort(percentage=37.5, seed=42))], asks(80), None, 0),
    "a sample of users": Case(
        [policy(abort(percentage=40, seed=7, sample_by={"header": "x-user"}))], USERS, None, 0
    ),
    "two policies": Case(
        [
            policy(rule({"path": {"prefix": "/a"}}, abort={"httpStatus": 500}), name="a"),
            policy(abort(502), name="b"),
        ],
        [*asks(3, path="/a"), *asks(4, path="/b")],
        7,
        0,
    ),
}


async def play(port: int, traffic: list[Ask]) -> list[int]:
    caller = await Caller.connect(port)
    try:
        return [
            (await caller.ask(method, path, *fields)).status for method, path, fields in traffic
        ]
    finally:
        await caller.close()


def counts(samples: Samples) -> tuple[int, int, int]:
    names = (ABORTS, DELAYS, f"{DURATION}_count")
    aborts, delays, durations = (int(samples.total(name)) for name in names)
    return aborts, delays, durations


async def merged(envoy: EnvoyProcess, delays: int) -> Samples:
    """Envoy's metrics once its histogram, which fills every five seconds, has caught up."""
    deadline = time.monotonic() + 30
    while int((found := await envoy.metrics()).total(f"{DURATION}_count")) != delays:
        assert time.monotonic() < deadline, f"never counted {delays} durations"
        await asyncio.sleep(0.1)
    return found


@pytest.mark.parametrize("name", CASES)
async def test_gateway_and_envoy_agree_on_every_counter(
    run: Run, upstream: ScriptedUpstream, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    proxy = {"name": "frontend", "namespace": "demo", "path": "/", "upstream": upstream.url}
    with GatewayProcess(tmp_path, {"proxies": [proxy]}) as gateway:
        client = AdminClient(f"127.0.0.1:{gateway.admin_port}", ADMIN_TOKEN)
        await asyncio.to_thread(client.post, "/v1/policies", case.policies)
        host = f"127.0.0.1:{gateway.admin_port}"
        control_plane = {
            "cluster": "gatewayx",
            "authority": host,
            "token": ADMIN_TOKEN,
            "interval_seconds": 0.2,
        }
        envoy = await run({"control_plane": control_plane}, control_plane_port=gateway.admin_port)
        deadline = time.monotonic() + 20
        while f"{len(case.policies)} policies in force" not in envoy.output():
            assert time.monotonic() < deadline, envoy.output()
            await asyncio.sleep(0.05)
        by_gateway = await play(gateway.port, case.traffic)
        by_envoy = await play(envoy.port, case.traffic)
        assert by_gateway == by_envoy
        told = counts(await asyncio.to_thread(gateway.metrics))
        assert counts(await merged(envoy, told[2])) == told
        aborts, delays, durations = told
        assert delays == durations
        if case.aborts is not None:
            assert (aborts, delays) == (case.aborts, case.delays)
        else:
            assert 0 < aborts < len(case.traffic)
            assert aborts == sum(status >= 500 for status in by_gateway)
