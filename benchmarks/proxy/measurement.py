"""Rounds and samples: who is measured when, and what the medians are.

In a round every target has its turn, one right after another, and ratios are taken within the
round: what the machine does to one it does to its neighbours in time, so a slow minute cancels out.
A sample is one run of the load on one target; the proxy's CPU clock is read right before and right
after it.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.proxy import load, peers, processes
from benchmarks.proxy.definitions import DIRECT, Cell, Definitions
from benchmarks.proxy.peers import Cores, Target


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of the load on one target. CPU figures are of its processes, all threads."""

    requests_per_second: float
    cpu_us: float
    """CPU microseconds a request of the processes that carry traffic."""
    user_us: float
    """The part of `cpu_us` that was spent outside the kernel."""
    supervisor_cpu_us: float
    p50_us: float
    p99_us: float
    resident_bytes: float
    supervisor_resident_bytes: float
    upstream_connects: float
    """New connections that the origin saw: many are a pool that does not hold."""
    busy: float
    """CPU time of the traffic processes over time, 0 to 1: at 1 the proxy was the bottleneck."""
    load_busy: float
    """The same of the load generator and the origin together."""
    foreign: float
    """How much of the proxy's core went to processes that take no part: noise."""
    stolen: float
    """How much of it the hypervisor took."""


@dataclass(frozen=True, slots=True)
class Row:
    """A target in one cell: medians over the rounds, and how it compares."""

    target: str
    median: Sample
    cpu_us_min: float
    cpu_us_max: float
    cpu_ratio: float | None
    p50_added_us: float | None
    """Median latency above that of the origin without a proxy; cells of one connection only."""


@dataclass(frozen=True, slots=True)
class CellResult:
    """All samples of a cell, in the order of the rounds."""

    cell: Cell
    samples: Mapping[str, tuple[Sample, ...]]

    def rows(self, baseline: str) -> list[Row]:
        """One row a target, in the order in which they were measured."""
        return [self._row(name, baseline) for name in self.samples]

    def _row(self, name: str, baseline: str) -> Row:
        own = self.samples[name]
        ratio = p50_added_us = None
        if baseline in self.samples and name != DIRECT:
            pairs = zip(own, self.samples[baseline], strict=True)
            ratio = statistics.median(ours.cpu_us / theirs.cpu_us for ours, theirs in pairs)
        if DIRECT in self.samples and name != DIRECT:
            pairs = zip(own, self.samples[DIRECT], strict=True)
            p50_added_us = statistics.median(ours.p50_us - plain.p50_us for ours, plain in pairs)
        cpu = [sample.cpu_us for sample in own]
        return Row(name, _median(own), min(cpu), max(cpu), ratio, p50_added_us)


@dataclass(frozen=True, slots=True)
class Plan:
    """One invocation of the harness."""

    definitions: Definitions
    peers: tuple[str, ...]
    cells: tuple[Cell, ...]
    rounds: int
    seconds: int
    warmup_seconds: int
    access_log: bool
    urgent: bool
    cores: Cores

    @property
    def body_sizes(self) -> list[int]:
        return sorted({cell.body_bytes for cell in self.cells})


def measure(plan: Plan, progress: Callable[[str], None]) -> Iterator[CellResult]:
    """Measures cell after cell; each starts its peers anew: no memory or pools are inherited."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proxy-benchmark-")))
        origin = stack.enter_context(peers.origin(root, plan.body_sizes, plan.cores.load))
        for cell in plan.cells:
            yield measure_cell(plan, cell, origin, progress)


def measure_cell(
    plan: Plan, cell: Cell, origin: Target, progress: Callable[[str], None]
) -> CellResult:
    """Starts, verifies and warms every target, then measures them in alternation."""
    with started(plan, origin) as targets:
        if cell.connections == 1:
            targets.append(origin)
        for target in targets:
            added = () if target is origin else plan.definitions.forwarded_headers
            peers.verify(target, [cell.body_bytes], added)
            if plan.warmup_seconds:
                load.run(target, cell, plan.warmup_seconds, plan.definitions.request_headers)
        samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
        for number in range(1, plan.rounds + 1):
            targets.append(targets.pop(0))  # Nobody always follows the same neighbour's caches.
            for target in targets:
                progress(f"{cell.name}: round {number} of {plan.rounds}, {target.name}")
                samples[target.name].append(take_sample(plan, cell, target, origin))
    return CellResult(cell, {name: tuple(taken) for name, taken in samples.items()})


@contextlib.contextmanager
def started(plan: Plan, origin: Target) -> Iterator[list[Target]]:
    """The plan's peers, running."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proxy-benchmark-")))
        yield [
            stack.enter_context(
                peers.peer(
                    plan.definitions.peers[name],
                    origin_port=origin.port,
                    directory=root / name,
                    cores=plan.cores,
                    access_log=plan.access_log,
                )
            )
            for name in plan.peers
        ]


def take_sample(plan: Plan, cell: Cell, target: Target, origin: Target) -> Sample:
    """Loads one target once and accounts for it."""
    resident_bytes = [0, 0]

    def read_memory() -> None:
        resident_bytes[:] = map(
            processes.resident_bytes, (target.traffic_pids, target.supervisor_pids)
        )

    connects = peers.accepted_count(origin.port)
    load_cpu = _load_cpu_seconds(origin)
    core, clock = processes.core_time(plan.cores.proxy), time.monotonic()
    traffic, supervisor = _usage(target)
    counted = load.run(
        target, cell, plan.seconds, plan.definitions.request_headers, late_in_run=read_memory
    )
    traffic_after, supervisor_after = _usage(target)
    core = processes.core_time(plan.cores.proxy) - core
    elapsed = time.monotonic() - clock
    load_cpu = _load_cpu_seconds(origin) - load_cpu
    traffic, supervisor = traffic_after - traffic, supervisor_after - supervisor
    cpu_us = traffic.cpu_ns / 1e3 / counted.requests
    accounted = traffic.cpu_ns / 1e9 + (load_cpu if plan.cores.shared else 0.0)
    return Sample(
        requests_per_second=counted.requests / (counted.duration_us / 1e6),
        cpu_us=cpu_us,
        user_us=cpu_us * traffic.user_share,
        supervisor_cpu_us=supervisor.cpu_ns / 1e3 / counted.requests,
        p50_us=counted.p50_us,
        p99_us=counted.p99_us,
        resident_bytes=resident_bytes[0],
        supervisor_resident_bytes=resident_bytes[1],
        upstream_connects=peers.accepted_count(origin.port) - connects - 1,
        busy=traffic.cpu_ns / 1e9 / elapsed,
        load_busy=load_cpu / elapsed,
        foreign=max(0.0, core.busy - accounted) / elapsed,
        stolen=core.stolen / elapsed,
    )


def _load_cpu_seconds(origin: Target) -> float:
    """CPU time of the origin and of every wrk that has ended."""
    wrk = resource.getrusage(resource.RUSAGE_CHILDREN)
    return processes.usage(origin.traffic_pids).cpu_ns / 1e9 + wrk.ru_utime + wrk.ru_stime


def _usage(target: Target) -> tuple[processes.Usage, processes.Usage]:
    return processes.usage(target.traffic_pids), processes.usage(target.supervisor_pids)


def _median(samples: Sequence[Sample]) -> Sample:
    return Sample(
        *(
            statistics.median(getattr(sample, field) for sample in samples)
            for field in Sample.__dataclass_fields__
        )
    )
