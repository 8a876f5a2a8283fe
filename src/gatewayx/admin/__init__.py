"""The control plane's HTTP API: health, metrics, the configuration. It carries no traffic."""

from gatewayx.admin.app import create_app
from gatewayx.admin.server import AdminServer
from gatewayx.admin.state import AdminState, Family, ReloadError, WorkerStatus
from gatewayx.admin.superuser import SuperuserToken, load_token

__all__ = [
    "AdminServer",
    "AdminState",
    "Family",
    "ReloadError",
    "SuperuserToken",
    "WorkerStatus",
    "create_app",
    "load_token",
]
