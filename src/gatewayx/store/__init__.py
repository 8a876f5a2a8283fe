"""What the gateway keeps: proxies, secrets, API tokens, fault policies, the audit log."""

from gatewayx.store.audit import AuditLog
from gatewayx.store.errors import (
    AlreadyExists,
    NotStored,
    StoreError,
    StoreUnavailable,
    VersionConflict,
)
from gatewayx.store.key import StoreKey, load_key
from gatewayx.store.policies import StoredPolicy
from gatewayx.store.proxies import StoredProxy, StoredRevision
from gatewayx.store.store import Store
from gatewayx.store.tokens import Credential, MadeToken, StoredToken

__all__ = [
    "AlreadyExists",
    "AuditLog",
    "Credential",
    "MadeToken",
    "NotStored",
    "Store",
    "StoreError",
    "StoreKey",
    "StoreUnavailable",
    "StoredPolicy",
    "StoredProxy",
    "StoredRevision",
    "StoredToken",
    "VersionConflict",
    "load_key",
]
