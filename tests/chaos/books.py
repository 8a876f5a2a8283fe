"""The invariants, checked after every fault: the callers, the gateway's metrics, its log and the
upstream have each kept count, and none may contradict another.

    begun = completed + failed + rejected + lost        metrics, nothing in flight
    lines + dropped = completed + failed + rejected     log against metrics, and status by status
    seen upstream = dispatched                          give or take what never got there
    answered <= counted <= answered + failed            callers against metrics
    permits = queued = active = connections = 0         and every buffer is back
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.support.caller import Caller
from tests.support.gateway import GatewayProcess, Samples
from tests.support.http1 import NotHttp
from tests.support.upstream import ScriptedUpstream

BUFFERS_PER_WORKER = 4
REST_SECONDS = 30.0


@dataclass(slots=True)
class Told:
    """What callers saw.

    Attributes:
        asked: Requests that were sent, or that somebody tried to send.
        answers: Whole responses by status.
        cut: Responses that ended early.
        failed: Requests without a response; connections that were refused are among them.
        wrong: Responses to somebody else's request: always a fault.
    """

    asked: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    cut: int = 0
    failed: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return self.answers.total()


async def ask(told: Told, port: int, path: str, caller: Caller | None = None) -> Caller | None:
    """One request, on its own connection or the given one; the connection, if it can go on."""
    told.asked += 1
    target = f"{path}?n={told.asked}"
    try:
        if caller is None:
            caller = await Caller.connect(port)
        response = await caller.get(target)
    except (OSError, EOFError, NotHttp, AssertionError):
        told.failed += 1
        if caller is not None:
            await caller.close()
        return None
    if not response.complete:
        told.cut += 1
        await caller.close()
        return None
    told.answers[response.status] += 1
    if response.status == 200 and target.encode() not in response.body:
        told.wrong.append(f"{target}: {response.body[:80]!r}")
    if response.announces_close:
        await caller.close()
        return None
    return caller


async def ask_all(told: Told, port: int, path: str, count: int) -> None:
    """So many requests at a time, each on its own connection."""

    async def one() -> None:
        caller = await ask(told, port, path)
        if caller is not None:
            await caller.close()

    await asyncio.gather(*(one() for _ in range(count)))


async def keep_asking(told: Told, port: int, path: str, stop: asyncio.Event) -> None:
    """One request after the other on one connection, and on a new one when that ends."""
    caller: Caller | None = None
    while not stop.is_set():
        caller = await ask(told, port, path, caller)
    if caller is not None:
        await caller.close()


@dataclass(slots=True)
class Balance:
    """The gateway's own account, at rest."""

    samples: Samples
    lines: list[dict[str, Any]]

    def total(self, name: str, **labels: str) -> int:
        return int(self.samples.total(name, **labels))

    @property
    def ended(self) -> int:
        return self.total("gateway_requests_total")

    @property
    def lost(self) -> int:
        return self.total("gateway_requests_lost_total")

    @property
    def dropped(self) -> int:
        return self.total("gateway_access_log_dropped_total")


_AT_REST = (
    "gateway_limiter_in_use",
    "gateway_limiter_queued",
    "gateway_active_connections",
    "gateway_downstream_connections",
)


async def at_rest(gateway: GatewayProcess) -> Samples:
    """The metrics once nothing is held, waited for, served or connected, and no log line is on its
    way; fails when that never comes."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        samples = await asyncio.to_thread(gateway.metrics)
        left = {name: samples.total(name) for name in _AT_REST if samples.total(name)}
        active = samples.total("gateway_upstream_connections", state="active")
        if not left and not active:
            return samples
        assert time.monotonic() < deadline, f"left over: {left}, {active} upstream connections"
        await asyncio.sleep(0.02)


async def balanced(
    gateway: GatewayProcess,
    told: Told,
    upstream: ScriptedUpstream | None = None,
    *,
    workers: int = 2,
    others: int = 0,
) -> Balance:
    """Checks all invariants and returns the account for what a test wants to know besides.

    Args:
        gateway: The gateway, whose callers are gone.
        told: What its callers saw.
        upstream: Its upstream, if it can be asked.
        workers: How many processes share the load.
        others: Requests of callers who kept no count.
    """
    await at_rest(gateway)
    balance = await _settled(gateway)
    samples, lines = balance.samples, balance.lines
    assert told.asked == told.answered + told.cut + told.failed
    assert not told.wrong, told.wrong[:5]

    begun = balance.total("gateway_requests_begun_total")
    unrouted = balance.total("gateway_requests_total", proxy="")
    assert begun + unrouted == balance.ended + balance.lost

    kills = sum(worker["restarts"] for worker in await _workers(gateway))
    missing = balance.ended - balance.dropped
    if kills:  # A worker may die within a write, or between its log's count and its metrics'.
        assert missing <= len(lines) <= balance.ended
    else:
        assert len(lines) == missing
    if not balance.dropped:
        by_status = Counter(str(line["status_code"]) for line in lines)
        for status, count in by_status.items():
            assert balance.total("gateway_requests_total", status=status) == count, status
    ids = [line["request_id"] for line in lines]
    assert len(set(ids)) == len(ids), "a request was logged twice"

    counted = balance.ended + balance.lost
    assert told.answered <= counted <= told.asked + others
    for status, count in told.answers.items():
        assert count <= balance.total("gateway_requests_total", status=str(status))

    if upstream is not None:
        _upstream_agrees(balance, upstream)
    open_buffers = balance.total("gateway_buffer_pool_in_use")
    assert open_buffers == workers * BUFFERS_PER_WORKER
    assert samples.total("gateway_bug_total") == 0
    return balance


def _upstream_agrees(balance: Balance, upstream: ScriptedUpstream) -> None:
    assert not upstream.faults, upstream.faults
    dispatched = balance.total("gateway_upstream_latency_seconds_count")
    retries = balance.total("gateway_retries_total")
    seen = len(upstream.requests)
    assert seen <= dispatched + retries + balance.lost
    served = balance.total("gateway_requests_total", status="200")
    assert served <= seen, "an answer that no upstream gave"
    twice = seen - len({request.target for request in upstream.requests})
    assert twice <= retries, "a request was sent twice without leave"


async def _settled(gateway: GatewayProcess) -> Balance:
    """The account once the log has caught up."""
    deadline = time.monotonic() + 5
    while True:
        samples = await asyncio.to_thread(gateway.metrics)
        lines = await asyncio.to_thread(_lines, gateway)
        balance = Balance(samples, lines)
        if len(lines) + balance.dropped >= balance.ended or time.monotonic() > deadline:
            return balance
        await asyncio.sleep(0.05)


def _lines(gateway: GatewayProcess) -> list[dict[str, Any]]:
    if not gateway.log_path.is_file():
        return []
    found = []
    for line in gateway.log_path.read_bytes().split(b"\n")[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # A line that a full disk cut short; it counts as dropped.
    return found


async def _workers(gateway: GatewayProcess) -> list[dict[str, Any]]:
    status, body = await asyncio.to_thread(gateway.admin, "GET", "/api/gateway/stats")
    assert status == 200
    workers: list[dict[str, Any]] = json.loads(body)["workers"]
    return workers


async def whole_again(gateway: GatewayProcess, workers: int = 2) -> None:
    """Waits until every slot has a worker that serves."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        found = await _workers(gateway)
        if sum(worker["state"] == "serving" for worker in found) == workers:
            return
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)
