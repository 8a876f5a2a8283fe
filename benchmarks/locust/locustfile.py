"""1,000 requests a second through a gateway, with a verdict.

    locust -f benchmarks/locust/locustfile.py --headless --host http://127.0.0.1:8080 \\
        --users 50 --spawn-rate 50 --run-time 5m --path /api/proxy/sidecar/health

The users share `--rate` among them, each on a connection of its own, whatever the answers take. The
exit status is 1 when a request failed, when the p99 is over `--p99-max` milliseconds or when less
than 95 % of the rate was reached. Locust takes a good part of a core at this rate and its own
queueing is in what it measures: let it run on other cores than the gateway, with `--processes` if
they are slow, and see `benchmarks/soak.py` for the gateway's latency alone.
"""

from __future__ import annotations

import logging
import random
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from locust.env import Environment

from locust import FastHttpUser, constant_throughput, events, task

RATE_REACHED_MIN = 0.95

log = logging.getLogger(__name__)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: ArgumentParser, **_: Any) -> None:
    parser.add_argument("--path", default="/", help="what to request")
    parser.add_argument("--body-file", default="", help="POST this file in place of a GET")
    parser.add_argument("--rate", type=float, default=1000, help="requests a second, in all")
    parser.add_argument("--p99-max", type=float, default=50, help="milliseconds")


class Caller(FastHttpUser):
    """A service that calls through the gateway at a steady pace."""

    body: str | None = None

    def on_start(self) -> None:
        options = self.environment.parsed_options
        self.path = options.path
        if options.body_file:
            self.body = Path(options.body_file).read_text()
        rate = options.rate / options.num_users
        self.pace = constant_throughput(rate)
        # Users that start together would call together, and measure how they queue within locust.
        time.sleep(random.uniform(0, 1 / rate))

    def wait_time(self) -> float:
        return float(self.pace(self))

    @task
    def call(self) -> None:
        self.client.request("POST" if self.body else "GET", self.path, data=self.body)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def judge(environment: Environment, **_: Any) -> None:
    """Turns the totals into the exit status."""
    total, options = environment.stats.total, environment.parsed_options
    assert options is not None
    p99_ms = total.get_response_time_percentile(0.99) or 0
    faults = {
        "no request was made": total.num_requests == 0,
        f"{total.num_failures} requests failed": total.num_failures > 0,
        f"p99 is {p99_ms} ms, over {options.p99_max:g}": p99_ms > options.p99_max,
        f"{total.total_rps:.0f} of {options.rate:.0f} requests a second": total.total_rps
        < options.rate * RATE_REACHED_MIN,
    }
    for fault in (text for text, found in faults.items() if found):
        log.error(fault)
        environment.process_exit_code = 1
