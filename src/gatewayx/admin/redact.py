"""The configuration as it may be shown: every header value is a secret until proven otherwise."""

from __future__ import annotations

from typing import Any

from gatewayx.config import ProxyConfig
from gatewayx.config.auth import AuthConfig

HIDDEN = "[redacted]"


def shown_proxy(proxy: ProxyConfig) -> dict[str, Any]:
    """A proxy's settings, with the names of its header fields and none of their values."""
    shown = proxy.model_dump(mode="json")
    shown["headers"] = dict.fromkeys(proxy.headers, HIDDEN)
    return shown


def shown_auth(auth: AuthConfig) -> dict[str, Any]:
    """Issuers and tokens, without the secrets that tokens are signed with."""
    shown = auth.model_dump(mode="json")
    for jwt in shown["jwt"]:
        if jwt["secret"] is not None:
            jwt["secret"] = HIDDEN
    return shown
