"""Percentiles are equal to those of a real Prometheus on the same buckets, to the last bit."""

from __future__ import annotations

import math
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import accumulate

import httpx
import pytest

from gatewayx.slo.master.histogram import quantile
from gatewayx.slo.snapshot import bound_key

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no Prometheus here: install Debian's `prometheus`"
)

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
AT_S = 1_767_225_600
"""The instant of the samples."""


def random_histogram(chance: random.Random) -> tuple[tuple[float, ...], list[int]]:
    """Bounds and cumulative counts: sparse, dense, empty, saturated."""
    finite = sorted(chance.sample(range(1, 60_000), chance.randrange(1, 25)))
    scale = chance.choice((1, 10, 1000))
    bounds = (*(number / scale for number in finite), math.inf)
    filled = chance.random()
    counts = [chance.randrange(1000) if chance.random() < filled else 0 for _ in bounds]
    return bounds, list(accumulate(counts))


HISTOGRAMS = [random_histogram(random.Random(seed)) for seed in range(150)]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that holds the histograms; its address."""
    home = tmp_path_factory.mktemp("prometheus")
    text = home / "samples.txt"
    text.write_text(openmetrics())
    blocks = ["promtool", "tsdb", "create-blocks-from", "openmetrics", text, home / "data"]
    subprocess.run(blocks, check=True, capture_output=True)
    config = home / "prometheus.yml"
    config.write_text("global: {}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    arguments = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={home / 'data'}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_ready(process, address)
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def openmetrics() -> str:
    """The histograms as samples of one instant."""
    lines = ["# TYPE latency histogram"]
    for number, (bounds, cumulative) in enumerate(HISTOGRAMS):
        lines += [
            f'latency_bucket{{id="{number}",le="{bound_key(bound)}"}} {count} {AT_S}'
            for bound, count in zip(bounds, cumulative, strict=True)
        ]
    return "\n".join([*lines, "# EOF", ""])


def _wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    while process.poll() is None:
        try:
            if httpx.get(f"http://{address}/-/ready").is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError("Prometheus did not start")


@pytest.mark.parametrize("q", QUANTILES)
def test_quantiles_are_equal(prometheus: str, q: float) -> None:
    query = {"query": f"histogram_quantile({q}, latency_bucket)", "time": AT_S}
    answer = httpx.get(f"{prometheus}/api/v1/query", params=query).json()
    theirs = {int(r["metric"]["id"]): float(r["value"][1]) for r in answer["data"]["result"]}
    assert len(theirs) == len(HISTOGRAMS)
    for number, (bounds, cumulative) in enumerate(HISTOGRAMS):
        ours = quantile(q, bounds, cumulative).value_ms
        if math.isnan(theirs[number]):
            assert ours is None
        else:
            assert ours == theirs[number]
