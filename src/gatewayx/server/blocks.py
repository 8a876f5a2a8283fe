"""Which metrics block belongs to which proxy, for as long as the gateway runs.

A proxy keeps its block, and with it its counters, limiter and breaker, over every change of the
configuration that keeps its name. A block that a removed proxy leaves is used again only when no
fresh one is left, because exchanges under way may still count in it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from gatewayx import _native

Series = tuple[str, int, int, int, int, int]


class Blocks:
    """Blocks 1 to `count` (block 0 is the gateway's own), by proxy name."""

    def __init__(self, count: int) -> None:
        self._by_name: dict[str, int] = {}
        self._free = deque(range(1, count + 1))

    def assign(self, compiled: dict[str, Any], metrics: _native.Metrics) -> None:
        """Set the block of every proxy in a compiled configuration; give up those of others.

        Raises:
            ValueError: When there are more proxies than blocks; nothing has changed then.
        """
        names = {proxy["name"] for proxy in compiled["proxies"]}
        gone = self._by_name.keys() - names
        fresh = names - self._by_name.keys()
        if len(fresh) > len(self._free) + len(gone):
            raise ValueError(f"{len(names)} proxies are more than the metrics have room for")
        self._free.extend(self._by_name.pop(name) for name in sorted(gone))
        for proxy in compiled["proxies"]:
            name = proxy["name"]
            if name not in self._by_name:
                self._by_name[name] = self._free.popleft()
                metrics.clear_block(self._by_name[name])
            proxy["block"] = self._by_name[name]


def series(compiled: dict[str, Any]) -> list[Series]:
    """What `Metrics.families` has to know of the proxies of a compiled configuration."""
    return [_series(proxy, proxy.get("circuit_breaker") or {}) for proxy in compiled["proxies"]]


def _series(proxy: dict[str, Any], breaker: dict[str, Any]) -> Series:
    return (
        proxy["name"],
        proxy["block"],
        proxy["max_concurrent"],
        (proxy.get("adaptive") or {}).get("limit_min", 0),
        breaker.get("recovery_timeout_ms", 0),
        breaker.get("recovery_jitter_percent", 0),
    )
