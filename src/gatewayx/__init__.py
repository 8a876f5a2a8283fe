"""GatewayX: a hardened HTTP gateway for fragile back ends.

`Gateway` runs one inside a program; `gatewayx serve` runs one as a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx._native import __version__

if TYPE_CHECKING:
    from gatewayx.gateway import Gateway

__all__ = ["Gateway", "__version__"]


def __getattr__(name: str) -> Any:
    # A worker process imports this package and must not pay for the configuration model.
    if name == "Gateway":
        from gatewayx.gateway import Gateway

        return Gateway
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
