"""The circuit breaker beyond failures in a row: shares, slow calls, jitter, an operator's hand."""

from __future__ import annotations

import asyncio

from tests.integration.conftest import Connect, Serve
from tests.integration.test_resilience import Gate, failing, gauge
from tests.support.caller import Caller, error_of
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.waiting import eventually


def by_share(**window: object) -> dict[str, object]:
    return {"enabled": True, "failure_threshold": 0, "window": {"volume_min": 10, **window}}


async def statuses(caller: Caller, *paths: str) -> list[int]:
    return [(await caller.get(path)).status for path in paths]


async def test_a_share_of_failures_opens_once_there_are_enough_calls(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/bad", failing)
    caller = await connect(await serve(circuit_breaker=by_share(failure_percent=50)))
    assert await statuses(caller, *["/bad"] * 9) == [500] * 9
    assert await statuses(caller, "/fine", "/fine") == [200, 200]
    assert await statuses(caller, "/bad") == [500]
    refused = await caller.get("/fine")
    assert (refused.status, error_of(refused)["reason"]) == (503, "circuit_open")


async def test_a_share_below_the_bound_keeps_it_closed(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/bad", failing)
    caller = await connect(await serve(circuit_breaker=by_share(failure_percent=50)))
    for _ in range(20):
        assert await statuses(caller, "/fine", "/bad", "/fine") == [200, 500, 200]


async def test_what_was_counted_before_a_recovery_is_forgotten(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/bad", failing)
    breaker = by_share(failure_percent=10) | {"recovery_timeout": 0.2}
    gateway = await serve(circuit_breaker=breaker)
    caller = await connect(gateway)
    assert await statuses(caller, *["/bad"] * 10, "/bad") == [500] * 10 + [503]
    await asyncio.sleep(0.25)
    assert await statuses(caller, "/fine") == [200]
    assert await statuses(caller, *["/bad"] * 9, "/fine") == [500] * 9 + [200]
    assert (await gateway.metrics()).total("gateway_circuit_breaker_state") == 0


async def slow(request: Request, connection: UpstreamConnection) -> None:
    await asyncio.sleep(0.15)
    await connection.respond(200, b"at last")


async def test_slow_calls_open_it_and_a_slow_probe_keeps_it_open(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/slow", slow)
    breaker = by_share(volume_min=4, failure_percent=0, slow_percent=50, slow_after=0.1)
    gateway = await serve(circuit_breaker=breaker | {"recovery_timeout": 0.3})
    caller = await connect(gateway)
    assert await statuses(caller, "/fine", "/fine", "/slow", "/slow") == [200] * 4
    assert await statuses(caller, "/fine") == [503]
    await asyncio.sleep(0.35)
    assert await statuses(caller, "/slow", "/fine") == [200, 503]
    await asyncio.sleep(0.35)
    assert await statuses(caller, "/fine", "/fine") == [200, 200]


async def test_a_slow_body_is_no_slow_call(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def streams(request: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        for byte in (b"s", b"l", b"o", b"w"):
            await asyncio.sleep(0.1)
            await connection.send(byte)

    upstream.on("/stream", streams)
    breaker = by_share(volume_min=1, failure_percent=0, slow_percent=1, slow_after=0.2)
    caller = await connect(await serve(circuit_breaker=breaker))
    assert await statuses(caller, *["/stream"] * 2, "/fine") == [200] * 3


async def test_a_caller_that_uploads_slowly_makes_no_slow_call(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    breaker = by_share(volume_min=1, failure_percent=0, slow_percent=1, slow_after=0.2)
    caller = await connect(await serve(circuit_breaker=breaker))
    await caller.send(b"POST /in HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
    for byte in (b"s", b"l", b"o", b"w"):
        await asyncio.sleep(0.1)
        await caller.send(byte)
    assert (await caller.response()).status == 200
    assert await statuses(caller, "/fine") == [200]


async def test_callers_that_leave_are_neither_failures_nor_slow_calls(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gate = Gate()
    upstream.on("/held", gate)
    breaker = by_share(volume_min=1, failure_percent=1, slow_percent=1, slow_after=0.05)
    gateway = await serve(circuit_breaker=breaker)
    leavers = [await connect(gateway) for _ in range(3)]
    for leaver in leavers:
        await leaver.request("GET", "/held")
    await eventually(lambda: gate.inside == 3, "three requests at the upstream")
    await asyncio.sleep(0.1)
    for leaver in leavers:
        await leaver.close()
    gate.opened.set()
    assert await statuses(await connect(gateway), "/fine") == [200]
    assert (await gateway.metrics()).total("gateway_circuit_breaker_state") == 0


async def test_a_response_cut_within_its_body_is_a_failure(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def cuts(request: Request, connection: UpstreamConnection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await asyncio.sleep(0.02)
        connection.reset()

    upstream.on("/cut", cuts)
    gateway = await serve(circuit_breaker={"enabled": True, "failure_threshold": 2})
    for _ in range(2):
        caller = await connect(gateway)
        assert not (await caller.get("/cut")).complete
    refused = await (await connect(gateway)).get("/fine")
    assert error_of(refused)["reason"] == "circuit_open"


async def test_jitter_lengthens_and_the_probes_stay_exact(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gate = Gate()
    upstream.on("/bad", failing)
    upstream.on("/probe", gate)
    breaker = {"enabled": True, "failure_threshold": 1, "half_open_requests": 2}
    jitter = {"recovery_timeout": 0.4, "recovery_jitter_percent": 50}
    gateway = await serve(circuit_breaker={**breaker, **jitter})
    callers = [await connect(gateway) for _ in range(6)]
    loop = asyncio.get_running_loop()
    opened_at = loop.time()
    assert await statuses(callers[0], "/bad", "/fine") == [500, 503]
    await gauge(gateway, "gateway_circuit_breaker_state", 2)
    assert loop.time() - opened_at >= 0.39
    for caller in callers:
        await caller.request("GET", "/probe")
    await eventually(lambda: gate.inside == 2, "two probes at the upstream")
    gate.opened.set()
    seen = sorted([(await caller.response()).status for caller in callers])
    assert seen == [200, 200, 503, 503, 503, 503]
    assert gate.most == 2


async def test_retries_that_wait_count_against_the_budget(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/bad", failing)
    retry = {"statuses": [500], "backoff": 1.0, "backoff_max": 1.0}
    gateway = await serve(retry={**retry, "budget_percent": 0, "budget_floor": 2})
    callers = [await connect(gateway) for _ in range(6)]
    for caller in callers:
        await caller.request("GET", "/bad")
    # All fail while the first two wait out their backoff, which takes half a second at least.
    assert [(await caller.response()).status for caller in callers] == [500] * 6
    assert len(upstream.requests) == 6 + 2
