"""What the gateway keeps: proxies, secrets, API tokens, fault policies, the audit log.

Names are looked up when they are used: whoever runs without a store does not pay for a database.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayx.store.audit import AuditLog
    from gatewayx.store.changes import ChangeWatch
    from gatewayx.store.combination import combine
    from gatewayx.store.errors import (
        AlreadyExists,
        NotStored,
        StoreError,
        StoreUnavailable,
        VersionConflict,
    )
    from gatewayx.store.key import StoreKey, load_key
    from gatewayx.store.policies import StoredPolicy
    from gatewayx.store.records import Combined, Entry, StoredProxy, StoredRevision
    from gatewayx.store.store import Content, Store
    from gatewayx.store.tokens import Credential, MadeToken, StoredToken, TokenCheck

__all__ = [
    "AlreadyExists",
    "AuditLog",
    "ChangeWatch",
    "Combined",
    "Content",
    "Credential",
    "Entry",
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
    "TokenCheck",
    "VersionConflict",
    "combine",
    "load_key",
]

_HOMES = {
    "AlreadyExists": "errors",
    "AuditLog": "audit",
    "ChangeWatch": "changes",
    "Combined": "records",
    "Content": "store",
    "Credential": "tokens",
    "Entry": "records",
    "MadeToken": "tokens",
    "NotStored": "errors",
    "Store": "store",
    "StoreError": "errors",
    "StoreKey": "key",
    "StoreUnavailable": "errors",
    "StoredPolicy": "policies",
    "StoredProxy": "records",
    "StoredRevision": "records",
    "StoredToken": "tokens",
    "TokenCheck": "tokens",
    "VersionConflict": "errors",
    "combine": "combination",
    "load_key": "key",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
