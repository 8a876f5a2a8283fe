"""The configuration as it may be shown: every header value is a secret until proven otherwise.

What only refers to a secret is shown as it is written: `Bearer {secret.KEY}`.
"""

from __future__ import annotations

import re
from typing import Any

from gatewayx.config import GatewayConfig, ProxyConfig

HIDDEN = "[redacted]"

_REFERENCES = re.compile(r"(?:(?:Bearer|Basic|Token) )?(?:\{(?:env|secret)\.[A-Za-z_]\w*\??\})+")

_HIDDEN_KEYS = frozenset({"secret", "sha256", "password", "token"})
"""Settings whose text is never shown, wherever they are."""


def shown_proxy(proxy: ProxyConfig) -> dict[str, Any]:
    """A proxy's settings, without the values of its header fields."""
    return shown_document(proxy.model_dump(mode="json"))


def shown_document(document: dict[str, Any]) -> dict[str, Any]:
    """The same for a document as it is stored."""
    headers = document.get("headers")
    shown: dict[str, Any] = _hide(document)
    if isinstance(headers, dict):
        shown["headers"] = {name: _shown_value(value) for name, value in headers.items()}
    return shown


def shown_config(config: GatewayConfig) -> dict[str, Any]:
    """Everything that is configured, without what is secret of it."""
    shown: dict[str, Any] = _hide(config.model_dump(mode="json", exclude={"proxies"}))
    for section, key in (("store", "url"), ("slo", "store")):
        if shown.get(section):
            shown[section][key] = _without_password(shown[section][key])
    return {**shown, "proxies": [shown_proxy(proxy) for proxy in config.proxies]}


def keep_hidden(document: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """A document that was shown and comes back: what was hidden is what it was."""
    headers, kept = document.get("headers"), stored.get("headers", {})
    if not isinstance(headers, dict):
        return document
    restored = {
        name: kept.get(name, value) if value == HIDDEN else value for name, value in headers.items()
    }
    return {**document, "headers": restored}


def _shown_value(value: object) -> object:
    return value if isinstance(value, str) and _REFERENCES.fullmatch(value) else HIDDEN


def _hide(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: HIDDEN if key in _HIDDEN_KEYS and isinstance(inner, str) else _hide(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_hide(item) for item in value]
    return value


def _without_password(url: str) -> str:
    return re.sub(r"(//[^:/@]*):[^@]*@", rf"\1:{HIDDEN}@", url)
