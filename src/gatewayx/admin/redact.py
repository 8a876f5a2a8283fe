"""The configuration as it may be shown: every header value is a secret until proven otherwise."""

from __future__ import annotations

from typing import Any

from gatewayx.config import ProxyConfig

HIDDEN = "[redacted]"


def shown_proxy(proxy: ProxyConfig) -> dict[str, Any]:
    """A proxy's settings, with the names of its header fields and none of their values."""
    shown = proxy.model_dump(mode="json")
    shown["headers"] = dict.fromkeys(proxy.headers, HIDDEN)
    return shown
