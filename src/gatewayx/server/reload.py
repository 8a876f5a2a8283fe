"""What a reload changes: the difference of two configurations, in names that an operator knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Changes:
    """Proxies and listeners by name, and whether anything else differs.

    Attributes:
        added: Proxies that are new.
        removed: Proxies that are gone.
        changed: Proxies that stay and differ.
        opened: Addresses that are listened on from now on.
        closed: Addresses that are not listened on any more.
        settings: Whether something besides proxies and listeners differs.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    opened: tuple[str, ...]
    closed: tuple[str, ...]
    settings: bool

    def __str__(self) -> str:
        parts = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("added", self.added),
                ("removed", self.removed),
                ("changed", self.changed),
                ("listening on", self.opened),
                ("no longer listening on", self.closed),
            )
            if names
        ]
        if self.settings:
            parts.append("changed the gateway's settings")
        return "; ".join(parts) or "nothing has changed"


def changes(
    before: dict[str, Any], after: dict[str, Any], listened: list[str], listens: list[str]
) -> Changes:
    """Compare two compiled configurations and the addresses they listen on."""
    old = {proxy["name"]: proxy for proxy in before["proxies"]}
    new = {proxy["name"]: proxy for proxy in after["proxies"]}
    kept = [name for name in new if name in old]
    return Changes(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(name for name in kept if old[name] != new[name]),
        opened=tuple(address for address in listens if address not in listened),
        closed=tuple(address for address in listened if address not in listens),
        settings={**before, "proxies": None} != {**after, "proxies": None},
    )
