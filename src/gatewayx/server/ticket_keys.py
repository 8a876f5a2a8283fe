"""Keys that all workers seal TLS session tickets with, so that callers resume at any of them."""

from __future__ import annotations

import secrets
from typing import Any

ROTATE_SECONDS = 6 * 3600.0
"""A key seals for so long."""

KEYS_COUNT = 3
"""The key that seals, and those before it: a ticket is good for at least twelve hours."""

KEY_BYTES = 48
"""A name of 16 bytes and an AES-256 key."""


class TicketKeys:
    """The newest key first. They are in memory only, and go with the supervisor."""

    def __init__(self) -> None:
        self._keys = [secrets.token_hex(KEY_BYTES)]

    def rotate(self) -> None:
        """Seal with a new key from now on; the oldest opens no more."""
        self._keys = [secrets.token_hex(KEY_BYTES), *self._keys][:KEYS_COUNT]

    def into(self, listeners: dict[str, Any]) -> dict[str, Any]:
        """The compiled listeners with the keys in them."""
        return {address: self._with_keys(listener) for address, listener in listeners.items()}

    def _with_keys(self, listener: dict[str, Any]) -> dict[str, Any]:
        if listener["tls"] is None:
            return listener
        return {**listener, "tls": {**listener["tls"], "ticket_keys": self._keys}}
