"""The result as a table on the terminal, as Markdown and as JSON.

Nothing that names the machine's users or paths is written, only what a figure depends on.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.proxy import peers
from benchmarks.proxy.definitions import DIRECT
from benchmarks.proxy.measurement import CellResult, Plan, Row
from benchmarks.proxy.processes import find_program
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parents[1] / "results"
FOREIGN_SHARE_MAX = 0.10
_MIB = 1 << 20


def environment() -> dict[str, str]:
    """What the figures depend on besides the programs: processor, kernel, date."""
    model = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "kernel": f"Linux {platform.release().partition('-')[0]}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def versions(plan: Plan) -> dict[str, str]:
    """Versions of the peers and of the load generator."""
    found = {name: peers.version(plan.definitions.peers[name]) for name in plan.peers}
    wrk = subprocess.run(
        [find_program("wrk"), "-v"], capture_output=True, text=True, timeout=10, check=False
    )
    words = (wrk.stdout + wrk.stderr).replace("/", " ").split()
    return {**found, "wrk": next((word for word in words if word[0].isdigit()), "unknown")}


def columns(result: CellResult, baseline: str) -> list[str]:
    """The table's head; the last column is there only where the origin was measured directly."""
    head = ["", "CPU us", "min..max", "user us", f"x {baseline}", "requests/s"]
    head += ["p50 us", "p99 us", "RSS MiB", "busy", "load"]
    return [*head, "added us"] if DIRECT in result.samples else head


def cells(row: Row, width: int) -> list[str]:
    """A row of the table as text; what does not apply to a target is left empty."""
    median = row.median
    is_proxy = row.target != DIRECT
    texts = [
        row.target,
        f"{median.cpu_us:.2f}" if is_proxy else "",
        f"{row.cpu_us_min:.2f}..{row.cpu_us_max:.2f}" if is_proxy else "",
        f"{median.user_us:.1f}" if is_proxy else "",
        f"{row.cpu_ratio:.3f}" if row.cpu_ratio is not None else "",
        f"{median.requests_per_second:,.0f}",
        f"{median.p50_us:,.0f}",
        f"{median.p99_us:,.0f}",
        _memory(row) if is_proxy else "",
        f"{median.busy:.0%}" if is_proxy else "",
        f"{median.load_busy:.0%}",
        f"{row.p50_added_us:+.0f}" if row.p50_added_us is not None else "",
    ]
    return texts[:width]


def warnings(results: Sequence[CellResult]) -> list[str]:
    """What a reader must know before trusting the figures."""
    samples = [
        sample
        for result in results
        for name, taken in result.samples.items()
        if name != DIRECT
        for sample in taken
    ]
    foreign = sum(sample.foreign > FOREIGN_SHARE_MAX for sample in samples)
    stolen = max((sample.stolen for sample in samples), default=0.0)
    found = []
    if foreign:
        found.append(
            f"{foreign} of {len(samples)} samples shared the proxy's core with other processes"
            f" for more than {FOREIGN_SHARE_MAX:.0%} of the time."
        )
    if stolen > FOREIGN_SHARE_MAX:
        found.append(f"The hypervisor took up to {stolen:.0%} of the proxy's core.")
    for result in results:
        for row in result.rows(""):
            if row.target != DIRECT and row.median.upstream_connects > 2 * result.cell.connections:
                found.append(
                    f"{row.target}, {result.cell.name}: {row.median.upstream_connects:.0f} new"
                    " upstream connections in a run."
                )
    return found


def show(console: Console, result: CellResult, baseline: str) -> None:
    """Prints one cell's table."""
    head = columns(result, baseline)
    table = Table(title=result.cell.name, title_justify="left")
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left")
    for row in result.rows(baseline):
        table.add_row(*cells(row, len(head)))
    console.print(table)


def save(name: str, plan: Plan, results: Sequence[CellResult]) -> list[Path]:
    """Writes `results/NAME.json` and `results/NAME.md`, replacing what was there."""
    about = {**environment(), "versions": versions(plan)}
    RESULTS.mkdir(exist_ok=True)
    written = [RESULTS / f"{name}.json", RESULTS / f"{name}.md"]
    written[0].write_text(json.dumps(_document(plan, results, about), indent=1) + "\n")
    written[1].write_text(_markdown(name, plan, results, about))
    return written


def _memory(row: Row) -> str:
    traffic = f"{row.median.resident_bytes / _MIB:.1f}"
    supervisor = row.median.supervisor_resident_bytes / _MIB
    return f"{traffic} + {supervisor:.1f}" if supervisor else traffic


def _document(
    plan: Plan, results: Sequence[CellResult], about: Mapping[str, object]
) -> dict[str, object]:
    return {
        "environment": about,
        "settings": {
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "warmup_seconds": plan.warmup_seconds,
            "access_log": plan.access_log,
            "one_core": plan.cores.shared,
            "urgent": plan.urgent,
            "baseline": plan.definitions.baseline,
        },
        "warnings": warnings(results),
        "cells": [
            {
                **dataclasses.asdict(result.cell),
                "rows": _rounded(
                    [dataclasses.asdict(r) for r in result.rows(plan.definitions.baseline)]
                ),
                "samples": {
                    name: _rounded([dataclasses.asdict(sample) for sample in taken])
                    for name, taken in result.samples.items()
                },
            }
            for result in results
        ],
    }


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def _markdown(
    name: str, plan: Plan, results: Sequence[CellResult], about: Mapping[str, object]
) -> str:
    found_versions = about["versions"]
    assert isinstance(found_versions, dict)
    lines = [
        f"# {name}",
        "",
        f"{about['processor']}; {about['kernel']}; {about['date']}. "
        + ", ".join(f"{program} {number}" for program, number in found_versions.items())
        + ".",
        "",
        f"Medians of {plan.rounds} alternating rounds of {plan.seconds} s;"
        f" {'one core for all' if plan.cores.shared else 'one pinned core for the proxy'};"
        f" access log {'on (JSON)' if plan.access_log else 'off'};"
        f" {'real-time' if plan.urgent else 'normal'} priority."
        " How to read it: [README](../README.md).",
    ]
    for result in results:
        head = columns(result, plan.definitions.baseline)
        lines += ["", f"## {result.cell.name}", ""]
        lines.append("| " + " | ".join(head) + " |")
        lines.append("|---" + "|---:" * (len(head) - 1) + "|")
        for row in result.rows(plan.definitions.baseline):
            lines.append("| " + " | ".join(cells(row, len(head))) + " |")
    found = warnings(results)
    if found:
        lines += ["", "## Warnings", "", *(f"- {warning}" for warning in found)]
    return "\n".join(lines) + "\n"
