"""What the store and the configuration tell each other of proxies. Loads no database code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from gatewayx.config import Fault, GatewayConfig, ProxyConfig


@dataclass(frozen=True, slots=True)
class StoredProxy:
    """One proxy as it is stored. Its headers may hold secrets.

    Attributes:
        name: Its name.
        version: Raised by every change; the ETag.
        document: What was set of its settings.
        created: Whether the change that has just been made created it.
    """

    name: str
    version: int
    document: dict[str, Any]
    created: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class StoredRevision:
    """One version of a proxy; `document` is None where it was deleted."""

    name: str
    version: int
    document: dict[str, Any] | None
    at_ms: int
    actor: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One proxy, where it comes from, and whether it is in force.

    Attributes:
        name: Its name.
        source: Where it is kept.
        version: Of a stored one; 0 for the file's.
        proxy: As the model has it; None when it is not valid.
        faults: Why it is left out; none for one that is in force.
    """

    name: str
    source: Literal["file", "store"]
    version: int
    proxy: ProxyConfig | None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Combined:
    """The configuration to serve from, and an entry for every proxy, in force or not."""

    config: GatewayConfig
    entries: tuple[Entry, ...]
