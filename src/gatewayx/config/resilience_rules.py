"""Rules between the values of what protects an upstream; see `rules.py`."""

from __future__ import annotations

from collections.abc import Iterator

from gatewayx.config.fault import Location

Finding = tuple[Location, str]


def resilience_findings(data: object) -> Iterator[Finding]:
    """Every broken rule of every proxy."""
    proxies = data.get("proxies") if isinstance(data, dict) else None
    for index, proxy in enumerate(proxies if isinstance(proxies, list | tuple) else ()):
        if isinstance(proxy, dict):
            yield from _an_adaptive_limit_in_bounds(proxy, ("proxies", index, "adaptive"))
            yield from _a_breaker_that_can_open(proxy, ("proxies", index, "circuit_breaker"))
            yield from _a_probe_at_a_time(proxy, ("proxies", index, "health_check"))


def _an_adaptive_limit_in_bounds(proxy: dict[str, object], place: Location) -> Iterator[Finding]:
    adaptive = proxy.get("adaptive")
    limit_max = proxy.get("max_concurrent", 0)
    if not isinstance(adaptive, dict) or not isinstance(limit_max, int):
        return
    limit_min = adaptive.get("limit_min", 4)
    if limit_max == 0:
        yield place, "needs max_concurrent: the limit that it stays below"
    elif limit_max > 65_535:
        yield place, "needs a max_concurrent of 65535 at most"
    elif isinstance(limit_min, int) and limit_min > limit_max:
        yield (*place, "limit_min"), f"is above max_concurrent, which is {limit_max}"


def _a_breaker_that_can_open(proxy: dict[str, object], place: Location) -> Iterator[Finding]:
    breaker = proxy.get("circuit_breaker")
    if not isinstance(breaker, dict):
        return
    window = breaker.get("window")
    if isinstance(window, dict):
        percents = (window.get("failure_percent", 50), window.get("slow_percent", 0))
        if percents == (0, 0):
            yield (
                (*place, "window"),
                "needs failure_percent or slow_percent above 0: nothing opens the circuit",
            )
    elif breaker.get("failure_threshold", 5) == 0:
        yield (
            (*place, "failure_threshold"),
            "is 0 and there is no window: nothing opens the circuit",
        )


def _a_probe_at_a_time(proxy: dict[str, object], place: Location) -> Iterator[Finding]:
    check = proxy.get("health_check")
    if isinstance(check, dict):
        timeout, interval = check.get("timeout", 1), check.get("interval", 5)
        is_sound = isinstance(timeout, int | float) and isinstance(interval, int | float)
        if is_sound and timeout > interval > 0:
            yield (*place, "timeout"), "is longer than interval: a probe must end before the next"
