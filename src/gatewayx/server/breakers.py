"""Circuit breakers by hand: from a proxy's name to its cells in shared memory."""

from __future__ import annotations

from typing import Any


def breaker_block(compiled: dict[str, Any], name: str) -> int | None:
    """The metrics block in which a proxy's breaker lies; `None` when it has no breaker.

    Raises:
        KeyError: When there is no such proxy.
    """
    for proxy in compiled["proxies"]:
        if proxy["name"] == name:
            return None if proxy["circuit_breaker"] is None else int(proxy["block"])
    raise KeyError(name)
