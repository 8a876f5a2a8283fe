"""The plugin in a real Envoy: every fault, every way to choose who gets it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path

import pytest

from tests.envoy.conftest import Connect, Run
from tests.envoy.policies import abort, delay, policy, rule
from tests.envoy.process import ABORTS, DELAYS, DURATION, EnvoyEndedError, EnvoyProcess
from tests.support.caller import Caller
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import eventually

VECTORS = json.loads((Path(__file__).parents[1] / "chaos_policies/vectors.json").read_text("utf-8"))


async def statuses(caller: Caller, count: int, *fields: tuple[str, str]) -> list[int]:
    return [(await caller.get("/", *fields)).status for _ in range(count)]


async def counted(envoy: EnvoyProcess, *wanted: int) -> None:
    """Waits until so many aborts and delays have been counted."""
    deadline = time.monotonic() + 20
    while (found := await envoy.counters()) != wanted:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)


async def test_everything_is_there_at_zero(run: Run) -> None:
    envoy = await run([policy(abort())])
    text = await envoy.text()
    assert f"\n{ABORTS}{{}} 0\n" in text
    assert f"\n{DELAYS}{{}} 0\n" in text
    assert f"# TYPE {DURATION} histogram" in text


async def test_an_abort_never_reaches_the_upstream(
    run: Run, connect: Connect, upstream: ScriptedUpstream
) -> None:
    with_body = rule({"path": {"exact": "/told"}}, abort={"httpStatus": 429, "body": "no"})
    envoy = await run([policy(with_body, abort(503))])
    caller = await connect(envoy)
    response = await caller.get("/told?a=b")
    assert (response.status, response.body) == (429, b"no")
    assert response.value("x-fault-injected") == b"abort"
    response = await caller.get("/")
    assert response.status == 503
    assert json.loads(response.body)["reason"] == "fault_injected"
    assert not upstream.requests
    assert await envoy.counters() == (2, 0)


async def test_a_delay_is_a_true_delay(
    run: Run, connect: Connect, upstream: ScriptedUpstream
) -> None:
    envoy = await run([policy(delay(300))])
    caller = await connect(envoy)
    began = time.monotonic()
    response = await caller.get("/")
    assert response.status == 200
    assert time.monotonic() - began >= 0.3
    assert len(upstream.requests) == 1
    assert await envoy.counters() == (0, 1)
    # Envoy merges histograms every five seconds, and keeps two digits of a value.
    deadline = time.monotonic() + 20
    while (metrics := await envoy.metrics()).total(f"{DURATION}_count") < 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    assert metrics.total(f"{DURATION}_count") == 1
    assert metrics.total(f"{DURATION}_sum") == pytest.approx(300, rel=0.05)
    assert metrics.total(f"{DURATION}_bucket", le="250") == 0
    assert metrics.total(f"{DURATION}_bucket", le="500") == 1


async def test_start_delay_then_delay_then_abort(
    run: Run, connect: Connect, upstream: ScriptedUpstream
) -> None:
    both = rule(start_delay_ms=150, delay={"fixed_delay_ms": 200}, abort={"httpStatus": 504})
    envoy = await run([policy(both)])
    caller = await connect(envoy)
    began = time.monotonic()
    assert (await caller.get("/")).status == 504
    assert time.monotonic() - began >= 0.35
    assert not upstream.requests
    assert await envoy.counters() == (1, 1)


async def test_a_held_request_keeps_its_body(
    run: Run, connect: Connect, upstream: ScriptedUpstream
) -> None:
    envoy = await run([policy(delay(200))])
    caller = await connect(envoy)
    body = random.Random(1).randbytes(40_000)
    response = await caller.ask("POST", "/", body=body)
    assert response.status == 200
    assert upstream.requests[0].body == body


async def test_a_reset_ends_the_connection(run: Run, connect: Connect) -> None:
    envoy = await run([policy(rule({"path": {"exact": "/reset"}}, reset=True))])
    caller = await connect(envoy)
    with pytest.raises(ConnectionError):
        await caller.get("/reset")
    assert (await (await connect(envoy)).get("/")).status == 200


async def test_shares(run: Run, connect: Connect) -> None:
    rules = [
        rule({"path": {"exact": f"/{share}"}}, abort={"httpStatus": 503}, percentage=share)
        for share in (0, 50, 100)
    ]
    envoy = await run([policy(*rules)])
    caller = await connect(envoy)
    hits = {
        share: [(await caller.get(f"/{share}")).status for _ in range(200)].count(503)
        for share in (0, 50, 100)
    }
    assert hits[0] == 0
    assert hits[100] == 200
    # Five standard deviations of a fair coin thrown 200 times.
    assert 64 <= hits[50] <= 136
    assert (await envoy.counters())[0] == sum(hits.values())


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_seed_hits_what_the_shared_vectors_say(
    run: Run, connect: Connect, workers: int
) -> None:
    vector = next(v for v in VECTORS["sampling"] if 5 < v["percentage"] < 60)
    limits = {"percentage": vector["percentage"], "seed": vector["seed"]}
    envoy = await run([policy(abort(503, **limits))], workers=workers)
    callers = [await connect(envoy) for _ in range(4)]
    found = [(await callers[n % 4].get("/")).status for n in range(vector["hits"][-1] + 1)]
    assert [n for n, status in enumerate(found) if status == 503] == vector["hits"]


async def test_a_sample_is_by_value(run: Run, connect: Connect) -> None:
    cases = [v for v in VECTORS["sample_by"] if v["seed"] == 0 and v["percentage"] not in (0, 100)]
    share = cases[0]["percentage"]
    cases = [case for case in cases if case["percentage"] == share and case["value"]]
    sampled = abort(503, percentage=share, seed=0, sample_by={"header": "X-User"})
    envoy = await run([policy(sampled)])
    caller = await connect(envoy)
    for case in cases:
        found = await statuses(caller, 2, ("x-user", case["value"]))
        assert found == [503 if case["hit"] else 200] * 2, case
    assert await statuses(caller, 1) == [200]


async def test_only_what_matches_is_hit(run: Run, connect: Connect) -> None:
    match = {
        "method": {"exact": "POST"},
        "path": {"prefix": "/api/"},
        "headers": [
            {"name": "X-User-Id", "regex": "^test-[0-9]+$"},
            {"name": "host", "prefix": "gw."},
        ],
    }
    envoy = await run([policy(rule(match, abort={"httpStatus": 503}))])
    caller = await connect(envoy)
    user = ("x-user-id", "test-7")
    assert (await caller.ask("POST", "/api/x?y", user)).status == 503
    assert (await caller.ask("GET", "/api/x", user)).status == 200
    assert (await caller.ask("POST", "/apix", user)).status == 200
    assert (await caller.ask("POST", "/api/x", ("x-user-id", "test-"))).status == 200
    assert (await caller.ask("POST", "/api/x", user, host="other.test")).status == 200
    assert await envoy.counters() == (1, 0)


async def test_the_first_rule_that_matches_decides(run: Run, connect: Connect) -> None:
    spared = abort(500, percentage=0)
    spared["match"] = {"path": {"exact": "/health"}}
    envoy = await run([policy(spared, abort(503))])
    caller = await connect(envoy)
    assert (await caller.get("/health")).status == 200
    assert (await caller.get("/")).status == 503


async def test_a_policy_ends_by_itself(run: Run, connect: Connect) -> None:
    began = time.monotonic()
    envoy = await run([policy(abort(503, duration_seconds=6))])
    caller = await connect(envoy)
    found = await statuses(caller, 1)
    if time.monotonic() - began < 5:
        assert found == [503]
    deadline = time.monotonic() + 20
    while (await statuses(caller, 1)) != [200]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_time_counts_from_when_it_was_applied(run: Run, connect: Connect) -> None:
    policies = [policy(abort(503, duration_seconds=60))]
    envoy = await run({"policies": policies, "applied_at": time.time() - 61})
    assert await statuses(await connect(envoy), 1) == [200]
    envoy = await run({"policies": policies, "applied_at": time.time() - 1})
    assert await statuses(await connect(envoy), 1) == [503]


@pytest.mark.parametrize(
    ("selector", "hit"),
    [
        ({"service": "frontend", "namespace": "demo"}, True),
        ({"service": "*", "namespace": "demo"}, True),
        ({"service": "backend"}, False),
        ({"namespace": "default"}, False),
    ],
)
async def test_a_selector_is_asked_with_the_nodes_labels(
    run: Run, connect: Connect, selector: dict[str, str], hit: bool
) -> None:
    envoy = await run([policy(abort(), **selector)])
    assert await statuses(await connect(envoy), 1) == [503 if hit else 200]


async def test_the_canonical_name_wins_and_configuration_wins_over_it(
    run: Run, connect: Connect
) -> None:
    labels = {"app": "a", "service.istio.io/canonical-name": "b"}
    node = {"NAMESPACE": "n", "LABELS": labels}
    policies = [policy(abort(501), name="b", service="b"), policy(abort(502), name="c")]
    envoy = await run(policies, node_metadata=node)
    assert await statuses(await connect(envoy), 1) == [501]
    given = {"service": "c", "namespace": "n", "policies": policies}
    envoy = await run(given, node_metadata=node)
    assert await statuses(await connect(envoy), 1) == [502]


async def test_no_more_are_under_way_than_may_be(run: Run, connect: Connect) -> None:
    envoy = await run([policy(delay(1500, max_active_faults=2))], workers=2)
    callers = [await connect(envoy) for _ in range(6)]
    await asyncio.gather(*(caller.get("/") for caller in callers))
    assert await envoy.counters() == (0, 2)
    # Their places are free again.
    await asyncio.gather(*(caller.get("/") for caller in callers))
    assert await envoy.counters() == (0, 4)


async def test_many_wait_and_none_goes_on_early(run: Run, connect: Connect) -> None:
    spread = {"distribution": "uniform", "min_ms": 50, "max_ms": 400}
    envoy = await run([policy(rule(delay=spread))], workers=2)

    async def ask(caller: Caller) -> float:
        began = time.monotonic()
        assert (await caller.get("/")).status == 200
        return time.monotonic() - began

    callers = [await connect(envoy) for _ in range(60)]
    for _ in range(5):
        times = await asyncio.gather(*(ask(caller) for caller in callers))
        assert min(times) >= 0.05
    assert await envoy.counters() == (0, 300)


async def test_who_leaves_is_not_aborted(run: Run, connect: Connect) -> None:
    envoy = await run([policy(rule(delay={"fixed_delay_ms": 700}, abort={"httpStatus": 503}))])
    leaver, other = await connect(envoy), await connect(envoy)
    await leaver.request("GET", "/")
    await other.request("GET", "/")
    await counted(envoy, 0, 2)
    leaver.reset()
    assert (await other.response()).status == 503
    assert await envoy.counters() == (1, 2)


@pytest.mark.parametrize(
    ("configuration", "told"),
    [
        ([policy(rule(delay={"fixed_delay_ms": 30_001}))], "p: spec.rules[0].fault.delay"),
        ([policy(rule(throttle={"bytes_per_second": 9}))], "p: spec.rules[0].fault.throttle"),
        ([policy(rule({"path": {"regex": "("}}, reset=True))], "policy p: regex"),
        ({"polices": []}, "unknown field `polices`"),
    ],
)
async def test_a_bad_configuration_is_refused_with_its_place(
    run: Run, configuration: object, told: str
) -> None:
    with pytest.raises(EnvoyEndedError) as caught:
        await run(configuration)
    assert told in str(caught.value)


def patterns(*found: dict[str, str]) -> dict[str, object]:
    return {"stats_matcher": {"inclusion_list": {"patterns": list(found)}}}


@pytest.mark.parametrize(
    ("stats_config", "visible"),
    [
        (None, True),
        (patterns({"prefix": "wasmcustom."}), True),
        (patterns({"prefix": "wasm"}), True),
        (patterns({"prefix": "wasmcustom.hfi_faults"}), False),
        (patterns({"prefix": "cluster."}), False),
    ],
)
async def test_a_stats_matcher_decides_what_shows_and_harms_nothing(
    run: Run, connect: Connect, stats_config: dict[str, object] | None, visible: bool
) -> None:
    envoy = await run([policy(abort())], stats_config=stats_config)
    assert await statuses(await connect(envoy), 3) == [503] * 3
    text = await envoy.text()
    assert (f"\n{ABORTS}{{}} 3\n" in text) is visible
    assert (ABORTS in text) is visible
    plain = await asyncio.to_thread(envoy.admin, "/stats")
    assert ("wasmcustom.wasmcustom.hfi_faults_aborts_total: 3\n" in plain) is visible


class ControlPlane:
    """Answers `/v1/policies` as it is told."""

    def __init__(self) -> None:
        self.server = ScriptedUpstream()
        self.body = b"[]"
        self.status = 200

    async def start(self) -> ControlPlane:
        async def answer(request: object, connection: object) -> None:
            await connection.respond(self.status, self.body)  # type: ignore[attr-defined]

        self.server.on("/v1/policies", answer)
        await self.server.start()
        return self


def polling(**more: object) -> dict[str, object]:
    return {"control_plane": {"cluster": "gatewayx", "interval_seconds": 0.1, **more}}


async def answers(caller: Caller, status: int) -> None:
    deadline = time.monotonic() + 20
    while (await caller.get("/")).status != status:
        assert time.monotonic() < deadline, f"never answered {status}"
        await asyncio.sleep(0.05)


async def test_policies_come_from_the_control_plane_and_outlive_it(
    run: Run, connect: Connect
) -> None:
    control = await ControlPlane().start()
    envoy: EnvoyProcess = await run(
        polling(token="a-bearer-token"), control_plane_port=control.server.port
    )
    caller = await connect(envoy)
    assert await statuses(caller, 1) == [200]
    control.body = json.dumps([policy(abort(503))]).encode()
    await answers(caller, 503)
    asked = control.server.requests[0]
    assert asked.value("authorization") == b"Bearer a-bearer-token"
    # What cannot be read, and what is no success, changes nothing.
    for body, status in ((b"<html>", 200), (b"[]", 500)):
        control.body, control.status = body, status
        seen = len(control.server.requests)
        await eventually(lambda seen=seen: len(control.server.requests) > seen + 2)
        assert await statuses(caller, 1) == [503]
    control.body, control.status = json.dumps([policy(abort(504))]).encode(), 200
    await answers(caller, 504)
    # Gone: the last good policies stay.
    await control.server.stop()
    await eventually(lambda: envoy.output().count("stay in force") >= 2)
    assert await statuses(caller, 1) == [504]
    assert "a-bearer-token" not in envoy.output()


async def test_what_only_the_gateway_can_do_is_left_out_and_told(
    run: Run, connect: Connect
) -> None:
    control = await ControlPlane().start()
    cut = policy(rule(truncate={"after_bytes": 5}), name="cut")
    control.body = json.dumps({"policies": [cut, policy(abort(503))]}).encode()
    envoy = await run(polling(), control_plane_port=control.server.port)
    await answers(await connect(envoy), 503)
    assert "policy cut is left out: spec.rules[0].fault.truncate" in envoy.output()
    await control.server.stop()


async def test_a_request_held_by_a_policy_that_goes_is_let_go(run: Run, connect: Connect) -> None:
    control = await ControlPlane().start()
    control.body = json.dumps([policy(delay(30_000), name="slow")]).encode()
    envoy = await run(polling(), control_plane_port=control.server.port)
    await eventually(lambda: "1 policies in force" in envoy.output())
    caller = await connect(envoy)
    await caller.request("GET", "/")
    await counted(envoy, 0, 1)
    control.body = b"[]"
    assert (await asyncio.wait_for(caller.response(), 20)).status == 200
    await control.server.stop()
