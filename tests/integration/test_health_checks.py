"""Active health checks: who is probed, what a verdict does, and that all workers hear of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from tests.integration.conftest import Connect, Serve
from tests.integration.test_workers import start
from tests.support.caller import Caller
from tests.support.certificates import Authority
from tests.support.gateway import GatewayProcess, free_port
from tests.support.http1 import Request
from tests.support.serving import EmbeddedServing, Serving
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.waiting import eventually

__all__ = ["start"]

CHECK = {"path": "/health?deep=1", "interval": 0.05, "timeout": 0.05, "unhealthy": 2, "healthy": 2}


class Health:
    """A health endpoint that is well, or says 503, or does not answer."""

    def __init__(self) -> None:
        self.condition = "well"
        self.probes: list[Request] = []

    async def __call__(self, request: Request, connection: UpstreamConnection) -> None:
        self.probes.append(request)
        if self.condition == "silent":
            await connection.ended()
        elif self.condition == "nonsense":
            await connection.send(b"220 mail.example ESMTP\r\n")
        else:
            await connection.respond(200 if self.condition == "well" else 503)


def with_health(upstream: ScriptedUpstream) -> Health:
    health = Health()
    upstream.on("/health", health)
    return health


@pytest.fixture
async def other() -> AsyncIterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    await scripted.start()
    yield scripted
    await scripted.stop()


async def verdict(gateway: Serving, upstream: ScriptedUpstream, up: int) -> None:
    for _ in range(1_000):
        if (await gateway.metrics()).total("gateway_upstream_up", upstream=upstream.url) == up:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"the upstream is not {'up' if up else 'down'}")


def asked(upstream: ScriptedUpstream) -> int:
    return sum(not request.target.startswith(b"/health") for request in upstream.requests)


@pytest.mark.parametrize("condition", ["503", "silent", "nonsense"])
async def test_an_upstream_that_is_down_gets_nothing_until_it_is_up_again(
    condition: str,
    upstream: ScriptedUpstream,
    other: ScriptedUpstream,
    serve: Serve,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="gatewayx")
    health = with_health(upstream)
    with_health(other)
    urls = [upstream.url, other.url]
    gateway = await serve(upstream=None, upstreams=urls, health_check=CHECK)
    caller = await connect(gateway)
    await verdict(gateway, upstream, 1)
    health.condition = condition
    await verdict(gateway, upstream, 0)
    before = asked(upstream)
    assert [(await caller.get("/")).status for _ in range(10)] == [200] * 10
    assert (asked(upstream), asked(other)) == (before, 10)
    health.condition = "well"
    await verdict(gateway, upstream, 1)
    assert [(await caller.get("/")).status for _ in range(10)] == [200] * 10
    assert asked(upstream) - before == 5
    if isinstance(gateway, EmbeddedServing):
        assert f"upstream {upstream.url} is down" in caplog.text
        assert f"upstream {upstream.url} is up again" in caplog.text
    assert health.probes[0].value(b"user-agent") == b"gatewayx-health-check"


async def test_when_all_are_down_all_are_tried(
    upstream: ScriptedUpstream, other: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    for one in (upstream, other):
        with_health(one).condition = "503"
    urls = [upstream.url, other.url]
    gateway = await serve(upstream=None, upstreams=urls, health_check=CHECK)
    for one in (upstream, other):
        await verdict(gateway, one, 0)
    caller = await connect(gateway)
    assert [(await caller.get("/")).status for _ in range(10)] == [200] * 10
    assert (asked(upstream), asked(other)) == (5, 5)


async def test_one_bad_probe_is_no_verdict(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    flips = 0

    async def every_other(request: Request, connection: UpstreamConnection) -> None:
        nonlocal flips
        flips += 1
        await connection.respond(200 if flips % 2 else 500)

    upstream.on("/health", every_other)
    gateway = await serve(health_check=CHECK)
    for _ in range(50):
        await asyncio.sleep(0.01)
        up = (await gateway.metrics()).total("gateway_upstream_up", upstream=upstream.url)
        assert up == 1
    assert flips > 2


async def test_expected_statuses_can_be_chosen(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    with_health(upstream).condition = "503"
    gateway = await serve(health_check=CHECK | {"statuses": [503]})
    await asyncio.sleep(0.4)
    await verdict(gateway, upstream, 1)


async def test_an_https_upstream_is_probed_with_what_requests_trust(
    serve: Serve, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    scripted = ScriptedUpstream()
    await scripted.start(tls=authority.server(authority.issue("127.0.0.1")))
    health = with_health(scripted)
    try:
        check = CHECK | {"interval": 1, "timeout": 1, "unhealthy": 1}
        options = {"upstream": scripted.url, "health_check": check}
        trusting = await serve(**options, tls={"ca_file": authority.ca_file})
        await eventually(lambda: len(health.probes) > 0, "a probe over TLS")
        await verdict(trusting, scripted, 1)
        wary = await serve(**options)
        await verdict(wary, scripted, 0)
        await verdict(trusting, scripted, 1)
    finally:
        await scripted.stop()


async def test_every_worker_hears_of_it_and_a_reload_keeps_the_verdict(  # type: ignore[no-untyped-def]
    start, upstream: ScriptedUpstream
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    upstreams = [dead, upstream.url]
    health = with_health(upstream)
    gateway: GatewayProcess = await start(upstream=None, upstreams=upstreams, health_check=CHECK)

    async def is_down() -> bool:
        path = "/api/gateway/proxies/sidecar/health"
        status, body = await asyncio.to_thread(gateway.admin, "GET", path)
        assert status == 200
        known = {found["url"]: found for found in json.loads(body)["upstreams"]}
        assert list(known) == upstreams
        assert known[upstream.url]["up"]
        return not known[dead]["up"] and "refused" in known[dead]["failure"].lower()

    async def ask_on_fresh_connections(count: int) -> list[int]:
        statuses = []
        for _ in range(count):
            caller = await Caller.connect(gateway.port)
            statuses.append((await caller.get("/")).status)
            await caller.close()
        return statuses

    for _ in range(500):
        if await is_down():
            break
        await asyncio.sleep(0.01)
    assert await ask_on_fresh_connections(20) == [200] * 20
    upstreams.reverse()
    gateway.config["proxies"][0]["upstreams"] = upstreams
    gateway.config_path.write_text(yaml.safe_dump(gateway.config))
    status, body = await asyncio.to_thread(gateway.admin, "POST", "/api/gateway/reload")
    assert (status, json.loads(body)["changes"]["changed"]) == (200, ["sidecar"])
    assert await is_down()
    assert await ask_on_fresh_connections(20) == [200] * 20
    gateway.config["proxies"][0]["health_check"] = None
    gateway.config_path.write_text(yaml.safe_dump(gateway.config))
    status, body = await asyncio.to_thread(gateway.admin, "POST", "/api/gateway/reload")
    assert (status, json.loads(body)["changes"]["changed"]) == (200, ["sidecar"])
    assert sorted(set(await ask_on_fresh_connections(20))) == [200, 502]
    probes = len(health.probes)
    await asyncio.sleep(0.3)
    assert len(health.probes) == probes


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """Without the check that every connection has ended: a prober's may be on its way."""
    scripted = ScriptedUpstream()
    await scripted.start()
    yield scripted
    await scripted.stop()
