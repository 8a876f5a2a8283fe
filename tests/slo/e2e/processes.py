"""Real processes of every part, the requests that are sent through them, and who counted what."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.slo.agent.servers import Reply, Request
from tests.support.gateway import GatewayProcess

PATIENCE_S = 60.0
CALLERS = 4
PROXIES = ("shop", "cart")
FAILING_ONE_IN = 10

Counts = Counter[tuple[str, str]]
"""Requests by proxy and class of status, such as ("shop", "2xx")."""


def upstream(request: Request) -> Reply:
    """Fails where the path says so."""
    return Reply(503 if request.path.endswith("/fails") else 200, b"ok")


def proxies(upstream_url: str) -> list[dict[str, Any]]:
    """Proxies by the names of `PROXIES`, each below a path of its name."""
    return [{"name": name, "path": f"/{name}", "upstream": upstream_url} for name in PROXIES]


def drive(gateways: Sequence[GatewayProcess], requests: int) -> Counts:
    """Send requests to the gateways in turn; what the callers got."""

    def call(numbers: Iterable[int]) -> Counts:
        seen: Counts = Counter()
        connections = [http.client.HTTPConnection("127.0.0.1", each.port) for each in gateways]
        for number in numbers:
            connection = connections[number % len(connections)]
            proxy = PROXIES[number % 3 == 0]
            end = "fails" if number % FAILING_ONE_IN == 0 else "works"
            connection.request("GET", f"/{proxy}/{end}")
            response = connection.getresponse()
            response.read()
            seen[proxy, f"{response.status // 100}xx"] += 1
        for connection in connections:
            connection.close()
        return seen

    with ThreadPoolExecutor(CALLERS) as pool:
        shares = [range(first, requests, CALLERS) for first in range(CALLERS)]
        return sum(pool.map(call, shares), Counter())


def own_counts(gateways: Iterable[GatewayProcess]) -> Counts:
    """What the gateways' own counters say."""
    found: Counts = Counter()
    for gateway in gateways:
        for name, labels, value in gateway.metrics().samples:
            if name == "gateway_requests_total":
                found[labels["proxy"], f"{labels['status'][0]}xx"] += int(value)
    return +found


def own_latencies(gateways: Sequence[GatewayProcess]) -> dict[str, list[int]]:
    """The gateways' latency histograms: by proxy, how many fell inside each bucket."""
    found: dict[str, list[int]] = {}
    for proxy in PROXIES:
        cumulative: Counter[float] = Counter()
        for gateway in gateways:
            for name, labels, value in gateway.metrics().samples:
                if name == "gateway_upstream_latency_seconds_bucket" and labels["proxy"] == proxy:
                    cumulative[float(labels["le"])] += int(value)
        counts = [cumulative[bound] for bound in sorted(cumulative)]
        found[proxy] = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    return found


def entries(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services of an answer of `/domains/v2`, routed or not, by service key."""
    listed = [entry for domain in answer["domains"] for entry in domain["services"]]
    return {entry["service_key"]: entry for entry in (*listed, *answer["unrouted"])}


def counts_of(answer: dict[str, Any]) -> Counts:
    """What a master says in `/domains/v2`."""
    found: Counts = Counter()
    for key, entry in entries(answer).items():
        for item in entry["status_code_breakdown"]:
            found[key, item["code"]] += item["count"]
        assert (
            sum(item["count"] for item in entry["status_code_breakdown"])
            == (entry["total_requests"])
        )
    return +found


def latencies_of(answer: dict[str, Any]) -> dict[str, list[int]]:
    """The histograms of the same answer, as `own_latencies` gives them."""
    return {
        key: [bucket["count"] for bucket in entry["latency_distribution"]]
        for key, entry in entries(answer).items()
    }


def ask(
    port: int, path: str, token: str | None, method: str = "GET", body: object = None
) -> tuple[int, Any]:
    """Status and JSON of a request to a loopback port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        fields = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, None if body is None else json.dumps(body), fields)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    is_json = "json" in (response.headers["Content-Type"] or "")
    return response.status, json.loads(text) if is_json else text


def wait_for(condition: Callable[[], object]) -> None:
    """Return once it holds. A server that does not answer yet is one that does not hold."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


@contextmanager
def running(directory: Path, *arguments: str, **environ: str) -> Iterator[None]:
    """`gatewayx ...` until the end of the block, which it must leave in good order."""
    with (directory / f"{arguments[1]}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gatewayx", *arguments],
            stdout=log,
            stderr=log,
            cwd=directory,
            env=os.environ | environ,
        )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
