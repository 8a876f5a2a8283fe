"""The implementations that are compared, and how an operation is timed."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import build_baselines  # noqa: E402

MODULES = {
    "native": "gatewayx.primitives",
    "cython": "baselines_cy",
    "python": "baselines",
}


@pytest.fixture(params=MODULES)
def primitives(request: pytest.FixtureRequest) -> Any:
    """A module with one class for each primitive."""
    if request.param == "cython":
        build_baselines.build()
    return importlib.import_module(MODULES[request.param])


@pytest.fixture
def measure(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest
) -> Callable[[Callable[[], object]], int]:
    """Times batches of operations; returns how many were run, to verify their answer."""
    operations: int = request.module.OPERATIONS

    def measure(batch: Callable[[], object]) -> int:
        batches = 0

        def counted() -> None:
            nonlocal batches
            batches += 1
            batch()

        benchmark.pedantic(counted, rounds=200, iterations=1, warmup_rounds=20)
        median_ns = benchmark.stats.stats.median * 1e9 / operations
        benchmark.extra_info["median_ns_per_operation"] = round(median_ns, 1)
        return batches * operations

    return measure
