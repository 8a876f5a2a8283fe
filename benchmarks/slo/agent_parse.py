"""The agent's parser on 100,000 lines, beside the reference parser, and the stages after it.

    python benchmarks/slo/agent_parse.py [--lines 100000] [--skip-reference]

The text is what a collector shows of a large mesh: histograms of 26 buckets, 10 to 12 labels a
line. Both parsers have to find the same samples. Target: 100,000 lines in under 1.5 s. Ends with
status 1 when it is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from prometheus_client.parser import text_string_to_metric_families

from gatewayx.slo.agent.delta import LastValues
from gatewayx.slo.agent.filter import EXCLUDED_NAMESPACES
from gatewayx.slo.agent.normalise import METRICS
from gatewayx.slo.agent.parse import parse
from gatewayx.slo.agent.pipeline import measure
from gatewayx.slo.generator import Calls, Cluster, Edge, Workload, collector_text

TARGET_S = 1.5
LINES = 100_000
REPEATS = 3
Result = TypeVar("Result")


def mesh_text(lines: int) -> bytes:
    """Pods that call each other until the text is long enough."""
    cluster = Cluster()
    services = [Workload("shop", f"service-{index}", replicas=1) for index in range(100)]
    written, turn = 0, 0
    while written < lines:
        src, dst = services[turn % 100], services[(turn * 7 + 1) % 100]
        if turn % 100 == 0:
            for service in services:
                cluster.start_pod(service)
        cluster.record(Calls(Edge(src, dst), "200", "GET", (3.0, 20.0, 400.0) * 40))
        turn += 1
        if turn % 100 == 0:
            written = collector_text(cluster.processes()).count(b"\n")
    text = collector_text(cluster.processes())
    return b"".join(line + b"\n" for line in text.splitlines()[:lines])


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """CPU seconds of one run, and its result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def main() -> int:
    """Measures, prints, judges."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--lines", type=int, default=LINES)
    arguments.add_argument("--skip-reference", action="store_true")
    options = arguments.parse_args()
    text = mesh_text(options.lines)
    print(f"{text.count(bytes([10]))} lines, {len(text) / 1e6:.1f} MB")
    runs = [timed(lambda: parse(text, METRICS)) for _ in range(REPEATS)]
    best, parsed = min(runs, key=lambda run: run[0])
    print(f"agent's parser      {best:6.2f} s of CPU, {len(parsed.samples)} samples")
    step, interval = timed(
        lambda: measure(text, LastValues(), 1.0, excluded_namespaces=EXCLUDED_NAMESPACES)
    )
    print(f"all stages          {step:6.2f} s of CPU, {len(interval.advance.last.series)} series")
    if not options.skip_reference:
        seconds, expected = timed(
            lambda: [
                sample
                for family in text_string_to_metric_families(text.decode())
                for sample in family.samples
                if sample.name in METRICS
            ]
        )
        print(f"prometheus_client   {seconds:6.2f} s of CPU, {len(expected)} samples")
        if [each.value for each in expected] != [each.value for each in parsed.samples]:
            print("the parsers disagree")
            return 1
    return int(best * LINES / options.lines > TARGET_S)


if __name__ == "__main__":
    sys.exit(main())
