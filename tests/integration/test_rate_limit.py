"""Rate limits: how many pass, what the others are told, and that all workers count together."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gatewayx.config import ConfigError, validate
from tests.integration.conftest import Connect, Serve
from tests.support.caller import Caller, error_of
from tests.support.gateway import GatewayProcess
from tests.support.http1 import Request
from tests.support.tokens import SECRET, bearer, jwt
from tests.support.upstream import ScriptedUpstream, UpstreamConnection

HOUR = 3600


def quota(response: Any) -> tuple[int, int, int, bytes | None]:
    numbers = [response.value(f"RateLimit-{name}") for name in ("Limit", "Remaining", "Reset")]
    limit, remaining, reset = (int(number) for number in numbers)
    return limit, remaining, reset, response.value("RateLimit-Policy")


async def test_a_burst_passes_and_what_follows_is_told_when_to_come_back(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve(rate_limit={"requests": 60, "per": HOUR, "burst": 3})
    caller = await connect(gateway)
    for left in (2, 1, 0):
        response = await caller.get("/")
        assert response.status == 200
        # A token comes back every minute.
        assert quota(response) == (3, left, (3 - left) * 60, b"60;w=3600;burst=3")
    refused = await caller.get("/")
    assert refused.status == 429
    assert error_of(refused)["reason"] == "rate_limited"
    assert error_of(refused)["error"] == "Too Many Requests"
    assert quota(refused)[:2] == (3, 0)
    assert 0 < int(refused.value("Retry-After") or 0) <= 60
    assert len(upstream.requests) == 3
    metrics = await gateway.metrics()
    assert metrics.total("gateway_errors_total", type="rate_limited") == 1


async def test_tokens_come_back(serve: Serve, connect: Connect) -> None:
    caller = await connect(await serve(rate_limit={"requests": 1, "per": 0.3}))
    assert (await caller.get("/")).status == 200
    statuses = []
    for _ in range(200):
        statuses.append((await caller.get("/")).status)
        if statuses[-1] == 200:
            break
        await asyncio.sleep(0.02)
    assert statuses[-1] == 200
    assert 429 in statuses


async def test_callers_are_counted_apart(serve: Serve, connect: Connect) -> None:
    by_header = {"requests": 1, "per": HOUR, "key": "header:X-Tenant"}
    caller = await connect(await serve(rate_limit=by_header))
    for fields, status in (
        ([("X-Tenant", "a")], 200),
        ([("X-Tenant", "b")], 200),
        ([("x-tenant", "a")], 429),
        ([], 200),
        ([], 429),
        # What looks like an address is a tenant all the same.
        ([("X-Tenant", "127.0.0.1")], 200),
    ):
        assert (await caller.get("/", *fields)).status == status, fields

    by_id = {"requests": 1, "per": HOUR, "key": "auth.id"}
    caller = await connect(await serve(auth={"jwt": [{"secret": SECRET}]}, rate_limit=by_id))
    for token, status in (
        (jwt(sub="a"), 200),
        (jwt(sub="b"), 200),
        (jwt(sub="a", more=1), 429),
        ("wrong", 200),
        ("also wrong", 429),
    ):
        assert (await caller.get("/", bearer(token))).status == status, token


async def test_addresses_are_counted_apart(serve: Serve) -> None:
    gateway = await serve(rate_limit={"requests": 2, "per": HOUR, "key": "ip"})

    async def statuses(address: str) -> list[int]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", gateway.port, local_addr=(address, 0)
        )
        caller = Caller(reader, writer)
        try:
            return [(await caller.get("/")).status for _ in range(3)]
        finally:
            await caller.close()

    for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        assert await statuses(address) == [200, 200, 429]
    assert await statuses("127.0.0.2") == [429, 429, 429]


async def test_only_who_may_call_costs_a_token(serve: Serve, connect: Connect) -> None:
    options = {"access_rule": "@request.auth.id != ''", "auth": {"jwt": [{"secret": SECRET}]}}
    caller = await connect(await serve(rate_limit={"requests": 1, "per": HOUR}, **options))
    assert [(await caller.get("/")).status for _ in range(3)] == [401] * 3
    assert (await caller.get("/", bearer(jwt()))).status == 200
    assert (await caller.get("/", bearer(jwt()))).status == 429


async def test_the_upstreams_own_quota_gives_way_only_to_the_gateways(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def limited(request: Request, connection: UpstreamConnection) -> None:
        await connection.respond(200, b"", ("RateLimit-Limit", "7"), ("X-RateLimit-Limit", "8"))

    upstream.on("/", limited)
    plain = await (await connect(await serve())).get("/")
    assert plain.values("RateLimit-Limit") == [b"7"]
    caller = await connect(await serve(rate_limit={"requests": 5, "per": HOUR}))
    response = await caller.get("/")
    assert response.values("RateLimit-Limit") == [b"5"]
    assert response.values("X-RateLimit-Limit") == [b"8"]


@pytest.mark.parametrize("key", ["proxy", "ip", "header:X-Tenant"])
async def test_two_workers_let_exactly_the_burst_through(
    tmp_path: Path, upstream: ScriptedUpstream, key: str
) -> None:
    burst, connections, each = 40, 16, 8
    limit = {"requests": burst, "per": 24 * HOUR, "key": key}
    proxy = {"name": "p", "path": "/", "upstream": upstream.url, "rate_limit": limit}
    gateway = GatewayProcess(tmp_path, {"workers": 2, "proxies": [proxy]})

    async def statuses() -> list[int]:
        caller = await Caller.connect(gateway.port)
        try:
            return [(await caller.get("/", ("X-Tenant", "t"))).status for _ in range(each)]
        finally:
            await caller.close()

    try:
        await asyncio.to_thread(gateway.start)
        results = await asyncio.gather(*(statuses() for _ in range(connections)))
        counted = Counter(status for found in results for status in found)
        assert counted == {200: burst, 429: connections * each - burst}
        # What was counted outlives a reload.
        assert (await asyncio.to_thread(gateway.admin, "POST", "/api/gateway/reload"))[0] == 200
        assert set(await statuses()) == {429}
    finally:
        await asyncio.to_thread(gateway.stop)
        gateway.kill()


@pytest.mark.parametrize(
    ("limit", "path", "words"),
    [
        ({}, "rate_limit.requests", "is required"),
        ({"requests": 0}, "rate_limit.requests", "at least 1"),
        ({"requests": 1, "per": 0}, "rate_limit.per", ""),
        ({"requests": 1, "per": 90_000}, "rate_limit.per", "at most 86400"),
        ({"requests": 1, "burst": 0}, "rate_limit.burst", "at least 1"),
        ({"requests": 1, "key": "cookie"}, "rate_limit.key", "must be proxy, ip"),
        ({"requests": 1, "key": "header:"}, "rate_limit.key", "must be proxy, ip"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    limit: dict[str, Any], path: str, words: str
) -> None:
    proxy = {"name": "p", "upstream": "http://127.0.0.1:1", "rate_limit": limit}
    with pytest.raises(ConfigError) as caught:
        validate({"proxies": [proxy]}, {})
    [fault] = caught.value.faults
    assert fault.path == f"proxies[0].{path}"
    assert words in fault.message
