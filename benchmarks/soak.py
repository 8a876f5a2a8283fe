"""Minutes at a constant rate: latency, the worst pause, memory. `python -m benchmarks.soak --help`.

The load is open-loop (`constant_rate.py`), so a stall is charged to every request that it delayed.
Probes run beside it in processes of their own, each once a millisecond:

- the *pause probe* asks the proxy for something that it answers itself; a slow answer is a pause
  of the event loop that serves it;
- the *controls* only sleep, one on the proxy's core and one on a core of the load; how late they
  wake is what the machine did.

A pause that overlaps a late wake-up of a control is the machine's. Both are reported, and how much
of the time the machine was late: where that is not next to nothing, run it on a quieter machine.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import json
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import uvloop
from benchmarks.constant_rate import Outcome, drive
from benchmarks.proxy import definitions, peers, processes, report
from benchmarks.proxy.peers import NOT_ROUTED, Cores, Target

PROBE_INTERVAL_NS = 1_000_000
SLOW_NS = 2_000_000
WINDOW_SECONDS = 10
P99_MAX_MS = 50.0
PAUSE_MAX_MS = 10.0
WHOLE_RUN_SECONDS = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Probe:
    """What a probe saw: how many times it looked, the worst, and every slow stretch (from, to)."""

    count: int
    worst_ns: int
    slow: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Soak:
    """The result. Latencies count from when a request was issued, waiting in line included."""

    peer: str
    rate: int
    seconds: int
    connections: int
    body_bytes: int
    requests: int
    failures: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    p99_jitter: float
    """Standard deviation of the p99 of every ten seconds, over its mean."""
    pause_max_ms: float
    """The slowest answer to the pause probe."""
    pause_own_max_ms: float
    """The same without those that overlap a late wake-up of the control."""
    control_max_ms: float
    control_late_share: float
    """Part of the time in which a control was late: no pause could be the proxy's own then."""
    generator_late_max_ms: float
    cpu_us: float
    """CPU microseconds a request, answers to the pause probe included."""
    resident_start_bytes: int
    resident_end_bytes: int
    supervisor_resident_start_bytes: int
    supervisor_resident_end_bytes: int

    def verdicts(self) -> dict[str, bool]:
        """The goals, by name."""
        return {
            "every request answered": self.failures == 0,
            f"p99 under {P99_MAX_MS:.0f} ms": self.p99_ms < P99_MAX_MS,
            f"no pause over {PAUSE_MAX_MS:.0f} ms": self.pause_own_max_ms <= PAUSE_MAX_MS,
        }


def probe_pauses(port: int, seconds: float) -> Probe:
    """Asks for an unrouted path once a millisecond, one question at a time."""
    gc.disable()
    request = f"GET {NOT_ROUTED} HTTP/1.1\r\nHost: probe\r\n\r\n".encode()
    count, worst_ns, slow = 0, 0, []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stop_ns = time.monotonic_ns() + int(seconds * 1e9)
        while (start_ns := time.monotonic_ns()) < stop_ns:
            sock.sendall(request)
            if not sock.recv(65536).startswith(b"HTTP/1.1 404"):
                raise RuntimeError("the proxy did not answer the probe with 404")
            end_ns = time.monotonic_ns()
            count, worst_ns = count + 1, max(worst_ns, end_ns - start_ns)
            if end_ns - start_ns > SLOW_NS:
                slow.append((start_ns, end_ns))
            time.sleep(max(0, start_ns + PROBE_INTERVAL_NS - end_ns) / 1e9)
    return Probe(count, worst_ns, tuple(slow))


def probe_machine(core: int, seconds: float) -> Probe:
    """Sleeps a millisecond at a time on a core and records how late it wakes."""
    gc.disable()
    os.sched_setaffinity(0, {core})
    count, worst_ns, slow = 0, 0, []
    stop_ns = time.monotonic_ns() + int(seconds * 1e9)
    while (start_ns := time.monotonic_ns()) < stop_ns:
        time.sleep(PROBE_INTERVAL_NS / 1e9)
        end_ns = time.monotonic_ns()
        late_ns = end_ns - start_ns - PROBE_INTERVAL_NS
        count, worst_ns = count + 1, max(worst_ns, late_ns)
        if late_ns > SLOW_NS:
            slow.append((start_ns, end_ns))
    return Probe(count, worst_ns, tuple(slow))


def soak(arguments: argparse.Namespace, target: Target, cores: Cores) -> Soak:
    """Warms the target up, then loads and probes it at once."""
    path = peers.body_path(arguments.body)
    uvloop.run(drive(target.port, path, arguments.rate, 5, arguments.connections))
    resident = _resident(target)
    cpu_ns = processes.usage(target.traffic_pids).cpu_ns
    context = multiprocessing.get_context("spawn")
    started = context.Barrier(4)  # Starting a process takes long enough to look like a pause.
    with ProcessPoolExecutor(3, mp_context=context, initializer=started.wait) as probes:
        pauses = probes.submit(probe_pauses, target.port, arguments.seconds)
        machine = [
            probes.submit(probe_machine, core, arguments.seconds)
            for core in (cores.proxy, min(cores.load))
        ]
        started.wait(30)
        outcome = uvloop.run(
            drive(target.port, path, arguments.rate, arguments.seconds, arguments.connections)
        )
        pause, controls = pauses.result(60), [future.result(60) for future in machine]
    cpu_ns = processes.usage(target.traffic_pids).cpu_ns - cpu_ns
    late = sorted(stretch for control in controls for stretch in control.slow)
    own = [end - start for start, end in pause.slow if not _overlaps(start, end, late)]
    latencies = sorted(outcome.latencies_ns)
    resident_end = _resident(target)
    return Soak(
        peer=target.name,
        rate=arguments.rate,
        seconds=arguments.seconds,
        connections=arguments.connections,
        body_bytes=arguments.body,
        requests=len(latencies),
        failures=outcome.failures,
        p50_ms=_percentile_ms(latencies, 0.5),
        p99_ms=_percentile_ms(latencies, 0.99),
        p999_ms=_percentile_ms(latencies, 0.999),
        max_ms=latencies[-1] / 1e6,
        p99_jitter=_p99_jitter(outcome, arguments.rate * WINDOW_SECONDS),
        pause_max_ms=pause.worst_ns / 1e6,
        pause_own_max_ms=max(own, default=min(pause.worst_ns, SLOW_NS)) / 1e6,
        control_max_ms=max(control.worst_ns for control in controls) / 1e6,
        control_late_share=sum(end - start for start, end in late) / (arguments.seconds * 1e9),
        generator_late_max_ms=outcome.late_max_ns / 1e6,
        cpu_us=cpu_ns / 1e3 / (len(latencies) + pause.count),
        resident_start_bytes=resident[0],
        resident_end_bytes=resident_end[0],
        supervisor_resident_start_bytes=resident[1],
        supervisor_resident_end_bytes=resident_end[1],
    )


def main() -> int:
    """Runs the soak; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--peer", default="gatewayx", help="a peer of the proxy benchmark")
    parser.add_argument("--rate", type=int, default=1000, help="requests a second")
    parser.add_argument("--seconds", type=int, default=WHOLE_RUN_SECONDS)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--body", type=int, default=4096, help="response size in bytes")
    parser.add_argument("--save", metavar="NAME", help="a whole run of gatewayx is always written")
    parser.add_argument("--urgent", action="store_true", help="real-time priority; needs root")
    arguments = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    cores = Cores(cpus[0], frozenset(cpus[1:] or cpus))
    os.sched_setaffinity(0, cores.load)
    if arguments.urgent:
        processes.take_precedence()
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        defined = definitions.load()
        definition = defined.peers[arguments.peer]
        origin = stack.enter_context(peers.origin(root, [arguments.body], cores.load))
        target = stack.enter_context(
            peers.peer(
                definition,
                origin_port=origin.port,
                directory=root / "peer",
                cores=cores,
                access_log=False,
            )
        )
        peers.verify(target, [arguments.body], defined.forwarded_headers)
        result = soak(arguments, target, cores)
    text = _markdown(result, peers.version(definition))
    print(text)
    whole = arguments.peer == "gatewayx" and arguments.seconds >= WHOLE_RUN_SECONDS
    if name := arguments.save or ("soak" if whole else None):
        document = {"environment": report.environment(), **dataclasses.asdict(result)}
        (report.RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        (report.RESULTS / f"{name}.md").write_text(text)
    return 0 if all(result.verdicts().values()) else 1


def _resident(target: Target) -> tuple[int, int]:
    sides = (target.traffic_pids, target.supervisor_pids)
    traffic, supervisor = map(processes.resident_bytes, sides)
    return traffic, supervisor


def _overlaps(start: int, end: int, stretches: Sequence[tuple[int, int]]) -> bool:
    return any(start < other_end and other_start < end for other_start, other_end in stretches)


def _percentile_ms(latencies_ns: Sequence[int], fraction: float) -> float:
    return latencies_ns[min(len(latencies_ns) - 1, int(len(latencies_ns) * fraction))] / 1e6


def _p99_jitter(outcome: Outcome, window: int) -> float:
    p99s = [
        _percentile_ms(sorted(outcome.latencies_ns[start : start + window]), 0.99)
        for start in range(0, len(outcome.latencies_ns) - window + 1, window)
    ]
    return statistics.stdev(p99s) / statistics.mean(p99s) if len(p99s) > 1 else 0.0


def _markdown(result: Soak, version: str) -> str:
    about = report.environment()
    mib = 1 << 20
    rows = {
        "requests answered": f"{result.requests:,} ({result.failures} failed)",
        "latency p50": f"{result.p50_ms:.2f} ms",
        "latency p99": f"{result.p99_ms:.2f} ms",
        "latency p99.9": f"{result.p999_ms:.2f} ms",
        "latency max": f"{result.max_ms:.2f} ms",
        "p99 jitter (every 10 s)": f"{result.p99_jitter:.0%}",
        "worst pause": f"{result.pause_max_ms:.2f} ms",
        "worst pause of its own": f"{result.pause_own_max_ms:.2f} ms",
        "worst pause of the machine": f"{result.control_max_ms:.2f} ms,"
        f" late {result.control_late_share:.1%} of the time",
        "load generator late by at most": f"{result.generator_late_max_ms:.2f} ms",
        "CPU a request": f"{result.cpu_us:.1f} us",
        "worker RSS": f"{result.resident_start_bytes / mib:.1f} MiB at the start, "
        f"{result.resident_end_bytes / mib:.1f} MiB at the end",
        "supervisor RSS": f"{result.supervisor_resident_start_bytes / mib:.1f} MiB at the start, "
        f"{result.supervisor_resident_end_bytes / mib:.1f} MiB at the end",
    }
    lines = [
        f"# Soak: {result.peer} {version}",
        "",
        f"{result.rate:,} requests a second for {result.seconds} s,"
        f" {definitions.size_name(result.body_bytes)} bodies, {result.connections} connections."
        f" {about['processor']}; {about['kernel']}; {about['date']}.",
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        "",
        *(f"- {name}: {'yes' if met else '**no**'}" for name, met in result.verdicts().items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
