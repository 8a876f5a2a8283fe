"""The circuit breaker under concurrency: what trips it, and what passes when it recovers."""

from __future__ import annotations

import asyncio

from tests.chaos.books import Told, ask_all, balanced
from tests.chaos.conftest import Start
from tests.support.http1 import Request
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.waiting import eventually

THRESHOLD = 5
PROBES = 3
RECOVERY_SECONDS = 1.0


class Gate:
    """Holds requests until it is opened, then answers all alike."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._open = asyncio.Event()
        self.inside = 0

    async def __call__(self, request: Request, connection: UpstreamConnection) -> None:
        self.inside += 1
        await self._open.wait()
        await connection.respond(self._status, request.target)

    def open(self) -> None:
        self._open.set()


async def test_five_failures_trip_it_for_all_and_exactly_the_probes_pass(
    start: Start, upstream: ScriptedUpstream
) -> None:
    breaker = {
        "enabled": True,
        "failure_threshold": THRESHOLD,
        "recovery_timeout": RECOVERY_SECONDS,
        "half_open_requests": PROBES,
    }
    gateway = await start(circuit_breaker=breaker)
    told = Told()
    for turn in range(3):
        failing = Gate(500)
        upstream.on("/", failing)
        before = len(upstream.requests)
        # Exactly as many as trip it, at once, in both workers; they are in flight together.
        asking = asyncio.create_task(ask_all(told, gateway.port, "/", THRESHOLD))
        await eventually(lambda gate=failing: gate.inside == THRESHOLD, "five in flight")
        failing.open()
        await asking
        # Whatever comes now, to whichever worker: no sixth.
        await ask_all(told, gateway.port, "/", 100)
        assert len(upstream.requests) == before + THRESHOLD
        assert told.answers[503] == 100 * (turn + 1) + (100 - PROBES) * turn
        await asyncio.sleep(RECOVERY_SECONDS + 0.1)
        probed = Gate(200)
        upstream.on("/", probed)
        asking = asyncio.create_task(ask_all(told, gateway.port, "/", 100))
        refused = (100 - PROBES) * (turn + 1) + 100 * (turn + 1)
        await eventually(lambda count=refused: told.answers[503] == count, "all other refusals")
        assert probed.inside == PROBES
        probed.open()
        await asking
        assert told.answers[200] == PROBES * (turn + 1)
    # Closed again.
    upstream.on("/", Gate(200))
    samples = await asyncio.to_thread(gateway.metrics)
    assert samples.total("gateway_circuit_breaker_state") == 0
    balance = await balanced(gateway, told, upstream)
    assert balance.total("gateway_errors_total", type="circuit_open") == told.answers[503]


async def test_what_is_in_flight_at_the_trip_is_all_that_still_arrives(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(
        circuit_breaker={"enabled": True, "failure_threshold": THRESHOLD, "recovery_timeout": 60}
    )
    failing = Gate(500)
    upstream.on("/", failing)
    told = Told()
    asking = asyncio.create_task(ask_all(told, gateway.port, "/", 20))
    await eventually(lambda: failing.inside == 20, "twenty in flight")
    failing.open()
    await asking
    await ask_all(told, gateway.port, "/", 100)
    assert len(upstream.requests) == 20
    assert told.answers == {500: 20, 503: 100}
    await balanced(gateway, told, upstream)
