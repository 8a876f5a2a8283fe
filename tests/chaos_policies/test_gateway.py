"""Policies against a gateway of two workers: exact counts, sequences, switches, expiry."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gatewayx.chaos.sample import is_hit, nth_draw
from gatewayx.cli.client import AdminError
from tests.chaos_policies.conftest import Faulted, Start, policy, statuses
from tests.support.caller import Caller
from tests.support.gateway import GatewayProcess
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.waiting import eventually

SHARE = 30
REQUESTS_COUNT = 10_000


async def test_a_share_is_hit_and_every_count_agrees(start: Start) -> None:
    gateway = await start(circuit_breaker={"enabled": True, "failure_threshold": 1})
    await gateway.apply(percentage=SHARE, abort={"httpStatus": 503, "body": "no"})
    responses = await gateway.ask(REQUESTS_COUNT)
    marked = [one for one in responses if one.value("x-fault-injected") == b"abort"]
    assert statuses(marked) == {503: len(marked)}
    assert statuses(responses) == {503: len(marked), 200: REQUESTS_COUNT - len(marked)}
    deviation = math.sqrt(REQUESTS_COUNT * SHARE / 100 * (1 - SHARE / 100))
    assert abs(len(marked) - REQUESTS_COUNT * SHARE / 100) <= 3 * deviation
    samples = await asyncio.to_thread(gateway.process.metrics)
    assert samples.total("wasmcustom_hfi_faults_aborts_total") == len(marked)
    assert samples.total("gateway_faults_injected_total", policy="p", kind="abort") == len(marked)
    assert samples.total("gateway_faults_matched_total", policy="p") == REQUESTS_COUNT
    # Apart from real errors.
    assert samples.total("gateway_errors_total") == 0
    assert samples.total("gateway_retries_total") == 0
    assert samples.total("gateway_circuit_breaker_state", proxy="sidecar") == 0
    log = await asyncio.to_thread(gateway.process.access_log, lines=REQUESTS_COUNT)
    assert sum(line["fault"] == "abort" for line in log) == len(marked)
    assert not any(line["error"] for line in log)
    assert all((line["upstream"] == "") == (line["fault"] == "abort") for line in log)


async def test_a_seed_hits_the_same_requests_in_every_run(start: Start) -> None:
    gateway = await start()
    expected = [is_hit(50, nth_draw(42, n)) for n in range(100)]
    for _ in range(2):
        # One after the other, over connections that different workers serve.
        await gateway.apply(percentage=50, seed=42, abort={"httpStatus": 500})
        callers = [await Caller.connect(gateway.process.port) for _ in range(6)]
        try:
            found = [(await callers[n % 6].get("/")).status == 500 for n in range(100)]
        finally:
            for caller in callers:
                await caller.close()
        assert found == expected


async def test_a_value_is_always_hit_or_always_spared(start: Start) -> None:
    gateway = await start()
    await gateway.apply(
        percentage=50, sample_by={"header": "x-user"}, seed=1, abort={"httpStatus": 500}
    )
    caller = await Caller.connect(gateway.process.port)
    users = [f"user-{n}" for n in range(30)]
    runs = [[(await caller.get("/", ("X-User", user))).status for user in users] for _ in range(3)]
    await caller.close()
    assert runs[0] == runs[1] == runs[2]
    assert {200, 500} == set(runs[0])


async def test_delays_are_counted_with_an_exact_sum(start: Start) -> None:
    gateway = await start()
    await gateway.apply(delay={"fixed_delay_ms": 20.5})
    started = time.monotonic()
    responses = await gateway.ask(20, callers=20)
    assert time.monotonic() - started >= 0.0205
    assert statuses(responses) == {200: 20}
    assert all(one.value("x-fault-injected") is None for one in responses)
    samples = await asyncio.to_thread(gateway.process.metrics)
    name = "wasmcustom_hfi_faults_delay_duration_milliseconds"
    assert samples.total(f"{name}_sum") == 20 * 20.5
    assert samples.total(f"{name}_count") == 20
    assert samples.total(f"{name}_bucket", le="10") == 0
    assert samples.total(f"{name}_bucket", le="25") == 20
    assert samples.total("wasmcustom_hfi_faults_delays_total") == 20
    log = await asyncio.to_thread(gateway.process.access_log, lines=20)
    assert {line["fault"] for line in log} == {"delay"}


async def test_metrics_are_there_at_zero_and_print_no_braces(start: Start) -> None:
    gateway = await start()
    _, page = await asyncio.to_thread(gateway.process.admin, "GET", "/stats/prometheus")
    lines = page.decode().splitlines()
    assert "wasmcustom_hfi_faults_aborts_total 0" in lines
    assert "wasmcustom_hfi_faults_delays_total 0" in lines
    bounds = (
        "0.5 1 5 10 25 50 100 250 500 1000 2500 5000 10000 30000 60000 300000 600000 1800000"
        " 3600000 +Inf"
    )
    name = "wasmcustom_hfi_faults_delay_duration_milliseconds"
    found = [line for line in lines if line.startswith(f"{name}_bucket")]
    assert found == [f'{name}_bucket{{le="{bound}"}} 0' for bound in bounds.split()]
    assert f"{name}_sum 0.0" in lines


async def test_a_delayed_caller_that_leaves_frees_everything(start: Start) -> None:
    gateway = await start(max_concurrent=1)
    await gateway.apply(delay={"fixed_delay_ms": 30_000}, max_active_faults=50)
    callers = [await Caller.connect(gateway.process.port) for _ in range(50)]
    for caller in callers:
        await caller.request("GET", "/")
    await _active(gateway, 50)
    samples = await asyncio.to_thread(gateway.process.metrics)
    assert samples.total("gateway_limiter_in_use") == 0
    assert samples.total("gateway_upstream_connections") == 0
    # One more is spared.
    spared = await gateway.ask(1, callers=1)
    assert statuses(spared) == {200: 1}
    for caller in callers:
        await caller.close()
    await _active(gateway, 0)
    samples = await asyncio.to_thread(gateway.process.metrics)
    assert samples.total("gateway_active_connections") == 0


async def test_a_dead_worker_gives_its_active_faults_back(start: Start) -> None:
    gateway = await start()
    await gateway.apply(delay={"fixed_delay_ms": 30_000}, max_active_faults=20)
    callers = [await Caller.connect(gateway.process.port) for _ in range(20)]
    for caller in callers:
        await caller.request("GET", "/")
    await _active(gateway, 20)
    victims = await asyncio.to_thread(gateway.process.worker_pids)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    await _active(gateway, 0)
    for caller in callers:
        await caller.close()
    # The workers that replace them have the policy.
    await eventually(
        lambda: set(gateway.process.worker_pids()).isdisjoint(victims), "other workers"
    )
    await gateway.apply(abort={"httpStatus": 418})
    assert statuses(await gateway.ask(20, callers=20)) == {418: 20}


async def test_the_kill_switch_lets_go_of_what_is_held(start: Start) -> None:
    gateway = await start()
    await gateway.apply("a", delay={"fixed_delay_ms": 30_000})
    await gateway.apply("b", abort={"httpStatus": 500}, match={"path": {"prefix": "/x"}})
    asked = asyncio.create_task(gateway.ask(4, callers=4))
    await eventually(
        lambda: gateway.client.get("/v1/policies/a/status")["matched"] == 4, "4 held requests"
    )
    answer = await asyncio.to_thread(gateway.client.post, "/v1/policies/disable-all")
    assert answer == {"disabled": ["a", "b"]}
    assert statuses(await asyncio.wait_for(asked, 5)) == {200: 4}
    assert statuses(await gateway.ask(4, target="/x")) == {200: 4}
    # And back, one by one.
    await asyncio.to_thread(gateway.client.post, "/v1/policies/b/enable")
    assert statuses(await gateway.ask(4, target="/x")) == {500: 4}


async def test_a_policy_ends_by_itself_and_stays_listed(start: Start) -> None:
    gateway = await start()
    await gateway.apply(abort={"httpStatus": 500}, duration_seconds=0.6)
    assert (await gateway.status())["active"] is True
    assert statuses(await gateway.ask(4)) == {500: 4}
    await asyncio.sleep(0.7)
    assert statuses(await gateway.ask(4)) == {200: 4}
    status = await gateway.status()
    assert (status["state"], status["active"]) == ("expired", False)
    assert status["expires_in_seconds"] == 0
    assert status["injected"] == 4


async def test_a_change_is_live_in_every_worker(start: Start) -> None:
    gateway = await start()
    for n in range(10):
        await gateway.apply(abort={"httpStatus": 500 + n})
        # No wait: the answer to the change came when every worker had it.
        assert statuses(await gateway.ask(8)) == {500 + n: 8}
    await asyncio.to_thread(gateway.client.delete, "/v1/policies/p")
    assert statuses(await gateway.ask(8)) == {200: 8}


async def test_selectors_name_proxies_and_their_namespaces(start: Start) -> None:
    gateway = await start(namespace="demo")
    for selector, hit in (
        ({"service": "sidecar", "namespace": "demo"}, True),
        ({"service": "*", "namespace": "demo"}, True),
        ({"service": "sidecar"}, True),
        ({"service": "other"}, False),
        ({"namespace": "default"}, False),
    ):
        document = policy(abort={"httpStatus": 500})
        document["spec"]["selector"] = selector
        await asyncio.to_thread(gateway.client.post, "/v1/policies", document)
        assert statuses(await gateway.ask(1, callers=1)) == {500 if hit else 200: 1}, selector


async def test_a_bad_policy_changes_nothing_and_every_fault_is_told(start: Start) -> None:
    gateway = await start()
    await gateway.apply(abort={"httpStatus": 500})
    bad: dict[str, Any] = policy(abort={"httpStatus": 200}, delay={"fixed_delay_ms": 31_000})
    with pytest.raises(AdminError) as caught:
        await asyncio.to_thread(gateway.client.post, "/v1/policies", [policy("q", reset=True), bad])
    assert [fault["path"] for fault in caught.value.faults] == [
        "[1].spec.rules[0].fault.delay.fixed_delay_ms",
        "[1].spec.rules[0].fault.abort.httpStatus",
    ]
    names = [
        one["metadata"]["name"]
        for one in (await asyncio.to_thread(gateway.client.get, "/v1/policies"))["policies"]
    ]
    assert names == ["p"]
    assert statuses(await gateway.ask(2)) == {500: 2}


async def test_a_reload_of_the_configuration_keeps_policies(start: Start) -> None:
    gateway = await start()
    await gateway.apply(abort={"httpStatus": 500})
    gateway.process.config["proxies"][0]["max_concurrent"] = 5
    import yaml

    gateway.process.config_path.write_text(yaml.safe_dump(gateway.process.config))
    await asyncio.to_thread(gateway.client.post, "/api/gateway/reload")
    assert statuses(await gateway.ask(4)) == {500: 4}


async def test_resets_and_slow_responses_reach_the_caller(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start()
    body = b"x" * 30_000

    async def answer(_: Request, connection: UpstreamConnection) -> None:
        await connection.respond(200, body)

    upstream.on("/large", answer)
    await gateway.apply(reset=True)
    caller = await Caller.connect(gateway.process.port)
    with pytest.raises(ConnectionError):
        await caller.get("/large")
    await caller.close()
    await gateway.apply(throttle={"bytes_per_second": 100_000})
    caller = await Caller.connect(gateway.process.port)
    started = time.monotonic()
    response = await caller.get("/large")
    assert response.body == body
    assert time.monotonic() - started >= 0.2
    await caller.close()
    samples = await asyncio.to_thread(gateway.process.metrics)
    assert samples.total("gateway_faults_injected_total", policy="p", kind="reset") == 1
    assert samples.total("gateway_faults_injected_total", policy="p", kind="throttle") == 1
    assert samples.total("gateway_errors_total") == 0


async def _active(gateway: Any, count: int) -> None:
    await eventually(
        lambda: gateway.client.get("/v1/policies/p/status")["active_faults"] == count,
        f"{count} active faults",
        seconds=15,
    )


async def test_policies_survive_a_restart_with_a_store(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    proxy = {"name": "sidecar", "path": "/", "upstream": upstream.url}
    store = {"url": f"sqlite:///{tmp_path / 'gatewayx.db'}"}
    process = GatewayProcess(tmp_path, {"workers": 1, "proxies": [proxy], "store": store})
    applied: list[str] = []
    try:
        for run in range(2):
            await asyncio.to_thread(process.start)
            gateway = Faulted(process)
            if run == 0:
                await gateway.apply("on", abort={"httpStatus": 418}, duration_seconds=600)
                await gateway.apply("off", abort={"httpStatus": 500}, seed=3)
                await asyncio.to_thread(gateway.client.post, "/v1/policies/off/disable")
            assert statuses(await gateway.ask(4)) == {418: 4}
            status = await gateway.status("on")
            assert 0 < status["expires_in_seconds"] <= 600
            assert (await gateway.status("off"))["state"] == "disabled"
            applied.append(status["applied_at"])
            await asyncio.to_thread(process.stop)
    finally:
        await asyncio.to_thread(process.kill)
    assert applied[0] == applied[1]
