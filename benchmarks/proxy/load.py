"""The load: wrk as a closed loop, and its count of what was answered.

wrk keeps every connection busy, so the proxy works as fast as it can. It corrects its percentiles
for coordinated omission, the same way for every peer.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.proxy.definitions import DIRECTORY, Cell
from benchmarks.proxy.peers import Target, body_path
from benchmarks.proxy.processes import find_program

GRACE_SECONDS = 15
_MARK = "SUMMARY "


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What wrk counted in one run."""

    requests: int
    duration_us: int
    bytes: int
    p50_us: int
    p99_us: int
    max_us: int
    socket_errors: int
    status_errors: int


def run(
    target: Target,
    cell: Cell,
    seconds: int,
    request_headers: Sequence[str],
    *,
    late_in_run: Callable[[], None] = lambda: None,
) -> LoadResult:
    """Loads the target for so many seconds; `late_in_run` is called once, near the end of it.

    Raises:
        SystemExit: an answer other than 2xx, or a connection that failed: such a run measures
            something else.
    """
    command = [find_program("wrk"), "--threads", "1", "--connections", str(cell.connections)]
    command += ["--duration", f"{seconds}s", "--timeout", f"{GRACE_SECONDS - 5}s"]
    command += ["--script", str(DIRECTORY / "wrk.lua")]
    for header in request_headers:
        command += ["--header", header]
    command.append(f"http://127.0.0.1:{target.port}{body_path(cell.body_bytes)}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
        try:
            wrk.wait(seconds * 0.8)
        except subprocess.TimeoutExpired:
            late_in_run()
        try:
            printed, _ = wrk.communicate(timeout=seconds + GRACE_SECONDS)
        finally:
            wrk.kill()
    summaries = [line for line in printed.splitlines() if line.startswith(_MARK)]
    if not summaries:
        raise SystemExit(f"{target.name}: wrk printed no summary:\n{printed}")
    result = LoadResult(**json.loads(summaries[0].removeprefix(_MARK)))
    if result.socket_errors or result.status_errors or not result.requests:
        raise SystemExit(f"{target.name}, {cell.name}: {result}")
    return result
