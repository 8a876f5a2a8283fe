"""Rules between the values of what protects an upstream."""

import pytest

from gatewayx.config import ConfigError, validate


def faults(**proxy: object) -> list[str]:
    data = {"proxies": [{"name": "a", "upstream": "http://127.0.0.1:1", **proxy}]}
    try:
        validate(data, {})
    except ConfigError as error:
        return [f"{fault.path}: {fault.message}" for fault in error.faults]
    return []


@pytest.mark.parametrize(
    ("breaker", "fault"),
    [
        (
            {"failure_threshold": 0},
            "failure_threshold: is 0 and there is no window: nothing opens the circuit",
        ),
        (
            {"window": {"failure_percent": 0}},
            "window: needs failure_percent or slow_percent above 0: nothing opens the circuit",
        ),
        ({"window": {"length": 0.5}}, "window.length: must be a number of seconds from 1 to 3600"),
        ({"window": {"volume_min": 0}}, "window.volume_min: must be a count from 1 to 10000"),
        ({"window": {"failure_percent": 101}}, "window.failure_percent: must be a percent"),
        ({"recovery_jitter_percent": -1}, "recovery_jitter_percent: must be a percent"),
    ],
)
def test_a_breaker_that_cannot_work_is_refused(breaker: dict[str, object], fault: str) -> None:
    found = faults(circuit_breaker={"enabled": True, **breaker})
    assert len(found) == 1
    path, _, words = fault.partition(": ")
    assert found[0].startswith(f"proxies[0].circuit_breaker.{path}: "), found
    if path in ("failure_threshold", "window"):
        assert found[0].endswith(words)


def test_a_breaker_may_go_by_shares_alone() -> None:
    breaker = {"enabled": True, "failure_threshold": 0, "window": {"length": 1}}
    assert faults(circuit_breaker=breaker) == []


@pytest.mark.parametrize(
    ("check", "path"),
    [
        ({"timeout": 6}, "timeout"),
        ({"path": "health"}, "path"),
        ({"path": "/a b"}, "path"),
        ({"path": "/a\r\nHost: b"}, "path"),
        ({"path": "/a#b"}, "path"),
        ({"interval": 0}, "interval"),
        ({"statuses": [99]}, "statuses[0]"),
        ({"retries": 1}, "retries"),
    ],
)
def test_a_health_check_that_cannot_work_is_refused(check: dict[str, object], path: str) -> None:
    found = faults(health_check=check)
    assert len(found) == 1
    assert found[0].startswith(f"proxies[0].health_check.{path}: "), found


@pytest.mark.parametrize(
    ("proxy", "fault"),
    [
        ({"adaptive": {}}, "adaptive: needs max_concurrent: the limit that it stays below"),
        (
            {"adaptive": {"limit_min": 9}, "max_concurrent": 8},
            "adaptive.limit_min: is above max_concurrent, which is 8",
        ),
        (
            {"adaptive": {}, "max_concurrent": 65_536},
            "adaptive: needs a max_concurrent of 65535 at most",
        ),
    ],
)
def test_an_adaptive_limit_out_of_bounds_is_refused(proxy: dict[str, object], fault: str) -> None:
    assert faults(**proxy) == [f"proxies[0].{fault}"]
