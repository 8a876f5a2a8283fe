"""`python -m benchmarks.proxy`: arguments to a plan, a plan to tables."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from benchmarks.proxy import definitions, measurement, perf, processes, report
from benchmarks.proxy.definitions import Cell, Definitions
from benchmarks.proxy.measurement import Plan
from benchmarks.proxy.peers import Cores
from rich.console import Console


def main() -> int:
    """Runs what the command line asks for and returns the exit status."""
    defined = definitions.load()
    arguments = _parser(defined).parse_args()
    plan = _plan(arguments, defined)
    signal.signal(signal.SIGTERM, _exit_on_signal)
    os.sched_setaffinity(0, plan.cores.load)  # What is started from here inherits this
    if plan.urgent:
        processes.take_precedence()  # and this.
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    if arguments.perf is not None:
        print(perf.profile(plan, Path(arguments.perf) if arguments.perf else None))
        return 0
    if arguments.syscalls:
        print(perf.count_system_calls(plan))
        return 0

    results = []
    with console.status("starting") as status:
        for result in measurement.measure(plan, progress=status.update):
            report.show(console, result, defined.baseline)
            results.append(result)
    for warning in report.warnings(results):
        console.print(f"warning: {warning}")
    if name := _result_name(arguments, plan):
        for path in report.save(name, plan, results):
            console.print(f"wrote {path.name}")
    return 0


def _parser(defined: Definitions) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxy", description=__doc__)
    option = parser.add_argument
    option("--quick", action="store_true", help="fewer cells and rounds: about two minutes")
    option("--peers", type=_names, help=f"of {','.join(defined.peers)}; default: all")
    option("--body", type=_numbers, help="response sizes in bytes, in place of the suite's cells")
    option("--connections", type=_numbers, help="connections, in place of the suite's cells")
    option("--rounds", type=int, help="alternating rounds a cell")
    option("--seconds", type=int, help="seconds a sample")
    option("--access-log", action="store_true", help="measure with a JSON access log written")
    option("--urgent", action="store_true", help="real-time priority, for a busy machine; root")
    option("--save", metavar="NAME", help="write results/NAME.*; whole suites are always written")
    option(
        "--cpus",
        type=_numbers,
        help="the proxy's core, then the load's; one alone is shared by all",
    )
    option(
        "--perf",
        nargs="?",
        const="",
        metavar="FILE",
        help="profile the first peer in the first cell instead, and keep perf's data in FILE",
    )
    option("--syscalls", action="store_true", help="count the first peer's system calls instead")
    return parser


def _plan(arguments: argparse.Namespace, defined: Definitions) -> Plan:
    suite = defined.suites["quick" if arguments.quick else "full"]
    chosen = arguments.peers or list(defined.peers)
    unknown = set(chosen) - set(defined.peers)
    if unknown:
        raise SystemExit(f"unknown peers: {', '.join(sorted(unknown))}")
    if arguments.access_log:
        chosen = [name for name in chosen if "on" in defined.peers[name].access_log]
    cells = suite.cells
    if arguments.body or arguments.connections:
        bodies = arguments.body or sorted({cell.body_bytes for cell in cells})
        connections = arguments.connections or sorted({cell.connections for cell in cells})
        cells = tuple(Cell(body, count) for body in bodies for count in connections)
    usable = sorted(os.sched_getaffinity(0))
    cpus = arguments.cpus or usable
    if not set(cpus) <= set(usable):
        raise SystemExit(f"usable cores: {', '.join(map(str, usable))}")
    return Plan(
        definitions=defined,
        peers=tuple(chosen),
        cells=cells,
        rounds=arguments.rounds or suite.rounds,
        seconds=arguments.seconds or suite.seconds,
        warmup_seconds=suite.warmup_seconds,
        access_log=arguments.access_log,
        urgent=arguments.urgent,
        cores=Cores(cpus[0], frozenset(cpus[1:] or cpus)),
    )


def _result_name(arguments: argparse.Namespace, plan: Plan) -> str | None:
    """Under which name to save: a whole suite has one, a part of it only if it was given one."""
    if arguments.save or arguments.peers or arguments.body or arguments.connections:
        return arguments.save  # type: ignore[no-any-return]
    parts = ["proxy"]
    parts += ["quick"] if arguments.quick else []
    parts += ["one-core"] if plan.cores.shared else []
    parts += ["access-log"] if plan.access_log else []
    return "-".join(parts)


def _names(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _exit_on_signal(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
