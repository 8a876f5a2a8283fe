"""The control plane's HTTP API: health, metrics, the configuration. It carries no traffic."""

from gatewayx.admin.app import create_app
from gatewayx.admin.server import AdminServer
from gatewayx.admin.state import (
    AdminState,
    BreakerOrder,
    Family,
    NoBreakerError,
    NoStoreError,
    ReloadError,
    WorkerStatus,
)
from gatewayx.admin.superuser import SuperuserToken, given_token, load_token

__all__ = [
    "AdminServer",
    "AdminState",
    "BreakerOrder",
    "Family",
    "NoBreakerError",
    "NoStoreError",
    "ReloadError",
    "SuperuserToken",
    "WorkerStatus",
    "create_app",
    "given_token",
    "load_token",
]
