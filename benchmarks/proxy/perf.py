"""Where a peer's CPU goes, while its first cell is loaded: samples by symbol, or calls by name.

The samples' event is the CPU clock, which virtual machines have too; they are shown by shared
object (kernel, interpreter, extension) and by symbol. Counting system calls slows the peer down, so
only its counts mean something, not its speed.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.proxy import load, measurement, peers
from benchmarks.proxy.measurement import Plan
from benchmarks.proxy.peers import Target
from benchmarks.proxy.processes import find_program

SAMPLES_PER_SECOND = 4000
SYMBOLS_MAX = 45
SHARED_OBJECTS_MAX = 12
ATTACH_SECONDS = 0.5


def profile(plan: Plan, data: Path | None) -> str:
    """Samples the plan's first peer in its first cell; keeps perf's own file if told where."""
    with _warm_peer(plan) as (target, root):
        data = data or root / "perf.data"
        record = [find_program("perf"), "record", "--quiet", "--event", "cpu-clock"]
        record += ["--freq", str(SAMPLES_PER_SECOND), "--call-graph", "fp"]
        record += ["--pid", ",".join(map(str, target.traffic_pids)), "--output", str(data)]
        requests = _load_under(record, plan, target)
        title = f"{target.name}, {plan.cells[0].name}: {requests / plan.seconds:,.0f} requests/s"
        by_object = _table(data, "overhead,dso", SHARED_OBJECTS_MAX)
        by_symbol = _table(data, "overhead,sym,dso", SYMBOLS_MAX)
        return "\n".join([title, "", *by_object, "", *by_symbol])


def count_system_calls(plan: Plan) -> str:
    """System calls a request of the plan's first peer in its first cell."""
    with _warm_peer(plan) as (target, root):
        counts = root / "strace.output"
        trace = [find_program("strace"), "--follow-forks", "--summary-only", "--summary-columns"]
        trace += ["calls,name", "--output", str(counts)]
        for pid in target.traffic_pids:
            trace += ["--attach", str(pid)]
        requests = _load_under(trace, plan, target)
        lines = [f"{target.name}, {plan.cells[0].name}: system calls a request", ""]
        for line in counts.read_text().splitlines():
            calls, _, name = line.strip().partition(" ")
            if calls.isdigit():
                lines.append(f"{int(calls) / requests:8.3f}  {name.strip()}")
        return "\n".join(lines)


@contextlib.contextmanager
def _warm_peer(plan: Plan) -> Iterator[tuple[Target, Path]]:
    """The plan's first peer after its warm-up, and a directory that lasts as long."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proxy-profile-")))
        origin = stack.enter_context(peers.origin(root, plan.body_sizes, plan.cores.load))
        target = stack.enter_context(measurement.started(plan, origin))[0]
        headers = plan.definitions.request_headers
        load.run(target, plan.cells[0], max(1, plan.warmup_seconds), headers)
        yield target, root


def _load_under(observer: list[str], plan: Plan, target: Target) -> int:
    """Loads the target while the observer is attached to it; returns the requests answered."""
    with subprocess.Popen(observer, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as watch:
        time.sleep(ATTACH_SECONDS)
        try:
            headers = plan.definitions.request_headers
            return load.run(target, plan.cells[0], plan.seconds, headers).requests
        finally:
            watch.send_signal(signal.SIGINT)
            watch.wait(30)


def _table(data: Path, fields: str, rows_max: int) -> list[str]:
    command = [find_program("perf"), "report", "--input", str(data), "--stdio", "--no-children"]
    command += ["--call-graph", "none", "--fields", fields, "--percent-limit", "0.3"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = [line.rstrip() for line in printed.stdout.splitlines()]
    return [line for line in lines if line and not line.startswith("#")][:rows_max]
