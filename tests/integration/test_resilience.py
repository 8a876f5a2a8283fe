"""What keeps a fragile upstream alive: limit, queue, breaker, retries, several upstreams."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.integration.conftest import Connect, Serve
from tests.support.caller import error_of
from tests.support.gateway import free_port
from tests.support.http1 import Request
from tests.support.serving import Serving
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.waiting import eventually


class Gate:
    """A handler that holds requests until it is opened, and counts them."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.inside = 0
        self.most = 0
        self.order: list[bytes] = []

    async def __call__(self, request: Request, connection: UpstreamConnection) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.order.append(request.target)
        await self.opened.wait()
        # Counted out before the answer: by the time that the gateway has it, the next may come.
        self.inside -= 1
        await connection.respond(200, b"through")


async def failing(request: Request, connection: UpstreamConnection) -> None:
    await connection.respond(500, b"broken")


async def test_over_the_limit_is_refused_at_once(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gate = Gate()
    upstream.on("/slow", gate)
    gateway = await serve(max_concurrent=2, retry_after=7)
    inside = [await connect(gateway) for _ in range(2)]
    for caller in inside:
        await caller.request("GET", "/slow")
    await eventually(lambda: gate.inside == 2, "two requests at the upstream")
    refused = await (await connect(gateway)).get("/slow")
    assert refused.status == 429
    assert error_of(refused)["reason"] == "limit_reached"
    assert refused.value(b"retry-after") == b"7"
    gate.opened.set()
    assert [(await caller.response()).status for caller in inside] == [200, 200]
    samples = await gateway.metrics()
    assert samples.total("gateway_limiter_rejected_total") == 1
    assert gate.most == 2


async def test_a_queue_serves_in_order_and_never_passes_the_limit(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gate = Gate()
    upstream.on("/slow", gate)
    for number in range(4):
        upstream.on(f"/slow/{number}", gate)
    gateway = await serve(max_concurrent=1, queue={"size": 10, "timeout": 20})
    callers = []
    for number in range(4):
        caller = await connect(gateway)
        await caller.request("GET", f"/slow/{number}")
        await eventually(
            lambda number=number: len(gate.order) + number >= 1, "the first request at the upstream"
        )
        if number:
            await _queued(gateway, number)
        callers.append(caller)
    gate.opened.set()
    assert [(await caller.response()).status for caller in callers] == [200] * 4
    assert gate.order == [b"/slow/0", b"/slow/1", b"/slow/2", b"/slow/3"]
    assert gate.most == 1


async def _queued(gateway: Serving, count: int) -> None:
    await gauge(gateway, "gateway_limiter_queued", count)


async def gauge(gateway: Serving, name: str, value: int) -> None:
    for _ in range(500):
        if (await gateway.metrics()).total(name) == value:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{name} is not {value}")


async def test_a_full_queue_and_a_long_wait_have_reasons_of_their_own(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gate = Gate()
    upstream.on("/slow", gate)
    gateway = await serve(max_concurrent=1, queue={"size": 1, "timeout": 0.3})
    first, second, third = [await connect(gateway) for _ in range(3)]
    await first.request("GET", "/slow")
    await eventually(lambda: gate.inside == 1, "a request at the upstream")
    await second.request("POST", "/slow", body=b"waits with its body")
    await _queued(gateway, 1)
    full = await third.get("/slow")
    assert (full.status, error_of(full)["reason"]) == (429, "queue_full")
    late = await second.response()
    assert (late.status, error_of(late)["reason"]) == (503, "queue_timeout")
    gate.opened.set()
    assert (await first.response()).status == 200


async def test_who_leaves_the_queue_gives_its_place_up(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gate = Gate()
    upstream.on("/slow", gate)
    gateway = await serve(max_concurrent=1, queue={"size": 5, "timeout": 20})
    first, leaver, last = [await connect(gateway) for _ in range(3)]
    await first.request("GET", "/slow")
    await eventually(lambda: gate.inside == 1, "a request at the upstream")
    await leaver.request("GET", "/slow?left")
    await _queued(gateway, 1)
    await leaver.close()
    await _queued(gateway, 0)
    await last.request("GET", "/slow?stayed")
    await _queued(gateway, 1)
    gate.opened.set()
    assert (await last.response()).status == 200
    assert (await first.response()).status == 200
    assert b"/slow?left" not in gate.order


async def test_the_urgent_are_served_first(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gate = Gate()
    upstream.on("/slow", gate)
    for name in ("low", "high"):
        upstream.on(f"/slow/{name}", gate)
    queue = {"size": 5, "timeout": 20, "priority_header": "X-Priority"}
    gateway = await serve(max_concurrent=1, queue=queue)
    first, low, high = [await connect(gateway) for _ in range(3)]
    await first.request("GET", "/slow")
    await eventually(lambda: gate.inside == 1, "a request at the upstream")
    await low.request("GET", "/slow/low", ("X-Priority", "1"))
    await _queued(gateway, 1)
    await high.request("GET", "/slow/high", ("X-Priority", "9"))
    await _queued(gateway, 2)
    gate.opened.set()
    for caller in (first, low, high):
        assert (await caller.response()).status == 200
    assert gate.order == [b"/slow", b"/slow/high", b"/slow/low"]


async def test_failures_open_the_circuit_and_a_probe_closes_it(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/x", failing)
    breaker = {"enabled": True, "failure_threshold": 3, "recovery_timeout": 0.3, "header": True}
    gateway = await serve(circuit_breaker=breaker)
    caller = await connect(gateway)
    assert [(await caller.get("/x")).status for _ in range(3)] == [500] * 3
    refused = await caller.get("/x")
    assert (refused.status, error_of(refused)["reason"]) == (503, "circuit_open")
    assert refused.value(b"x-circuit-breaker") == b"open"
    assert refused.value(b"retry-after") == b"1"
    assert (await gateway.metrics()).total("gateway_circuit_breaker_state") == 1
    assert len(upstream.requests) == 3
    await gauge(gateway, "gateway_circuit_breaker_state", 2)
    probe = await caller.get("/fine")
    assert probe.status == 200
    assert (await caller.get("/fine")).value(b"x-circuit-breaker") == b"closed"
    assert (await gateway.metrics()).total("gateway_circuit_breaker_state") == 0


async def test_only_so_many_probes_pass_at_once(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gate = Gate()
    upstream.on("/x", failing)
    upstream.on("/probe", gate)
    breaker = {"enabled": True, "failure_threshold": 1, "recovery_timeout": 1.0}
    gateway = await serve(circuit_breaker=breaker)
    caller, probe = await connect(gateway), await connect(gateway)
    assert (await caller.get("/x")).status == 500
    assert (await caller.get("/x")).status == 503
    await asyncio.sleep(1.05)
    await probe.request("GET", "/probe")
    await eventually(lambda: gate.inside == 1, "the probe at the upstream")
    assert (await caller.get("/x")).status == 503
    gate.opened.set()
    assert (await probe.response()).status == 200
    assert (await caller.get("/fine")).status == 200


async def test_a_caller_that_leaves_is_no_failure(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gate = Gate()
    upstream.on("/slow", gate)
    gateway = await serve(circuit_breaker={"enabled": True, "failure_threshold": 1})
    leaver = await connect(gateway)
    await leaver.request("GET", "/slow")
    await eventually(lambda: gate.inside == 1, "a request at the upstream")
    await leaver.close()
    gate.opened.set()
    assert (await (await connect(gateway)).get("/fine")).status == 200


async def test_a_refused_status_is_tried_again_elsewhere(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    other = ScriptedUpstream()
    await other.start()
    try:
        for one in (upstream, other):
            one.on("/x", failing)
        other.on("/x", Gate.__call__.__get__(_open_gate()))
        gateway = await serve(
            upstream=None,
            upstreams=[upstream.url, other.url],
            retry={"statuses": [500], "backoff": 0.001},
        )
        caller = await connect(gateway)
        assert [(await caller.get("/x")).status for _ in range(4)] == [200] * 4
        retries = (await gateway.metrics()).total("gateway_retries_total")
        assert retries == len(upstream.requests) > 0
    finally:
        await other.stop()


def _open_gate() -> Gate:
    gate = Gate()
    gate.opened.set()
    return gate


async def test_a_dead_upstream_is_passed_over_even_for_post(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    gateway = await serve(
        upstream=None,
        upstreams=[f"http://127.0.0.1:{free_port()}", upstream.url],
        retry={"retry_on": ["connect_failure"], "backoff": 0.001},
    )
    caller = await connect(gateway)
    for number in range(4):
        response = await caller.ask("POST", "/in", body=b"body %d" % number)
        assert response.status == 200
    assert [request.body for request in upstream.requests] == [b"body %d" % n for n in range(4)]


async def test_what_may_have_been_executed_is_not_repeated(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    async def vanish(request: Request, connection: UpstreamConnection) -> None:
        connection.reset()

    upstream.on("/in", vanish)
    retry = {"attempts": 3, "retry_on": ["connect_failure", "reset", "timeout"], "statuses": [503]}
    gateway = await serve(retry=retry)
    caller = await connect(gateway)
    assert (await caller.ask("POST", "/in", body=b"pay")).status == 502
    assert len(upstream.requests) == 1
    assert (await (await connect(gateway)).get("/in")).status == 502
    assert len(upstream.requests) == 1 + 3


async def test_the_budget_bounds_retries(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    upstream.on("/x", failing)
    retry = {"attempts": 10, "statuses": [500], "backoff": 0.001, "backoff_max": 0.001}
    gateway = await serve(retry={**retry, "budget_percent": 0, "budget_floor": 2})
    caller = await connect(gateway)
    assert [(await caller.get("/x")).status for _ in range(5)] == [500] * 5
    assert len(upstream.requests) == 5 + 2


@pytest.mark.parametrize("algorithm", ["round_robin", "least_connections", "random_of_two"])
async def test_upstreams_share_the_load(
    algorithm: str, upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    other = ScriptedUpstream()
    await other.start()
    try:
        gateway = await serve(
            upstream=None,
            upstreams=[upstream.url, other.url],
            load_balancing={"algorithm": algorithm},
        )
        caller = await connect(gateway)
        for _ in range(60):
            assert (await caller.get("/")).status == 200
        assert len(upstream.requests) + len(other.requests) == 60
        if algorithm == "round_robin":
            assert len(upstream.requests) == 30
        elif algorithm == "random_of_two":
            assert min(len(upstream.requests), len(other.requests)) > 10
    finally:
        await other.stop()


async def test_a_key_stays_with_its_upstream(
    upstream: ScriptedUpstream, serve: Serve, connect: Connect
) -> None:
    other = ScriptedUpstream()
    await other.start()
    try:
        gateway = await serve(
            upstream=None,
            upstreams=[upstream.url, other.url],
            load_balancing={"algorithm": "consistent_hash", "hash_header": "X-User"},
        )
        caller = await connect(gateway)
        for user in [f"user-{number % 20}" for number in range(60)]:
            assert (await caller.get("/", ("X-User", user))).status == 200
        seen = Counter(
            (request.value(b"x-user"), one.port)
            for one in (upstream, other)
            for request in one.requests
        )
        assert len(seen) == 20
        assert set(seen.values()) == {3}
        assert {port for _, port in seen} == {upstream.port, other.port}
    finally:
        await other.stop()
