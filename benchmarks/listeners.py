"""One listening socket for all workers, or one SO_REUSEPORT socket each?

`python -m benchmarks.listeners` runs the same two workers both ways, in turn, and tells for each:
requests a second and p99 of 64 callers, how evenly the workers shared the work (the busiest one's
part of the CPU time; 50 % is even), and what callers saw who were connecting while one worker was
dead for as long as its replacement takes. Needs `wrk` and `rustc`, as the other benchmarks do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import statistics
import tempfile
from pathlib import Path

from benchmarks.proxy import load, peers, processes
from benchmarks.proxy.definitions import Cell
from benchmarks.proxy.peers import Target

from gatewayx.admin import SuperuserToken
from gatewayx.config import GatewayConfig
from gatewayx.server.control import Orders
from gatewayx.server.sockets import new_event_loop
from gatewayx.server.supervisor import Supervisor

WORKERS = 2
CELL = Cell(12, 64)
PROBES = 200
PROBE_SECONDS = 2.0


class SharedSocket(Supervisor):
    """As it is shipped."""

    name = "one shared socket"


class SocketEach(Supervisor):
    """Every worker has a socket of its own; the kernel spreads callers by a hash."""

    name = "SO_REUSEPORT each"

    def _bind(self, address: str) -> socket.socket:
        return _reuseport(*address.rsplit(":", 1))

    def _orders(self, slot: int) -> Orders:
        orders = super()._orders(slot)
        if not hasattr(self, "_by_slot"):
            self._by_slot: dict[tuple[int, str], socket.socket] = {}
        fds = {}
        for address, first in self._listening.items():
            # The supervisor keeps them all open, so that a dead worker's queue survives it.
            own = self._by_slot.get((slot, address))
            if own is None:
                own = first if slot == 0 else _reuseport(*first.getsockname())
                self._by_slot[slot, address] = own
            fds[address] = own.fileno()
        return dataclasses.replace(orders, listener_fds=fds)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One round of one way."""

    requests_per_second: float
    p99_us: float
    busiest_share: float
    answered: int
    slowest_seconds: float


def _reuseport(host: str, port: str | int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind((host, int(port)))
    listening.listen(4096)
    listening.setblocking(False)
    return listening


async def measure(kind: type[Supervisor], upstream_port: int, seconds: int) -> Outcome:
    """Start a gateway, load it, kill a worker under callers that come one by one."""
    port, admin = processes.free_port(), processes.free_port()
    config = GatewayConfig.model_validate(
        {
            "listeners": [{"address": f"127.0.0.1:{port}"}],
            "admin": {"address": f"127.0.0.1:{admin}"},
            "workers": WORKERS,
            "access_log": {"enabled": False},
            "proxies": [
                {"name": "origin", "upstream": f"http://127.0.0.1:{upstream_port}"},
            ],
        }
    )
    supervisor = kind(config, SuperuserToken("benchmark"))
    await supervisor.start(lambda _: None)
    try:
        pids = [worker.pid for worker in supervisor.workers()]
        before = [processes.usage([pid]).cpu_ns for pid in pids]
        target = Target("gatewayx", port, tuple(pids))
        counted = await asyncio.to_thread(load.run, target, CELL, seconds, ())
        spent = [processes.usage([pid]).cpu_ns - cpu for pid, cpu in zip(pids, before, strict=True)]
        answered, slowest = await _probe_a_death(port, pids[0])
        return Outcome(
            requests_per_second=counted.requests / (counted.duration_us / 1e6),
            p99_us=counted.p99_us,
            busiest_share=max(spent) / sum(spent),
            answered=answered,
            slowest_seconds=slowest,
        )
    finally:
        await supervisor.stop()


async def _probe_a_death(port: int, victim: int) -> tuple[int, float]:
    """Callers that come while a worker is dead: how many are answered, and the longest wait."""
    loop = asyncio.get_running_loop()

    async def probe() -> float | None:
        begun = loop.time()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /b/12 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
        except (OSError, TimeoutError):
            return None
        return loop.time() - begun if answer.startswith(b"HTTP/1.1 200") else None

    os.kill(victim, signal.SIGKILL)
    asking = []
    for _ in range(PROBES):
        asking.append(asyncio.create_task(probe()))
        await asyncio.sleep(PROBE_SECONDS / PROBES)
    waits = [wait for wait in await asyncio.gather(*asking) if wait is not None]
    return len(waits), max(waits, default=0.0)


def main() -> None:
    """Alternate, then print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    outcomes: dict[str, list[Outcome]] = {kind.name: [] for kind in (SharedSocket, SocketEach)}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cores = frozenset(os.sched_getaffinity(0))
        origin = stack.enter_context(peers.origin(directory, [CELL.body_bytes], cores))
        for _ in range(arguments.rounds):
            for kind in (SharedSocket, SocketEach):
                with asyncio.Runner(loop_factory=new_event_loop) as runner:
                    found = runner.run(measure(kind, origin.port, arguments.seconds))
                outcomes[kind.name].append(found)
    print(f"{'':20} {'req/s':>8} {'p99 us':>8} {'busiest':>8} {'answered':>9} {'slowest':>8}")
    for name, taken in outcomes.items():
        median = {
            field: statistics.median(getattr(outcome, field) for outcome in taken)
            for field in Outcome.__slots__
        }
        print(
            f"{name:20} {median['requests_per_second']:8,.0f} {median['p99_us']:8,.0f}"
            f" {median['busiest_share']:8.0%} {median['answered']:5.0f}/{PROBES}"
            f" {median['slowest_seconds']:7.2f}s"
        )


if __name__ == "__main__":
    main()
