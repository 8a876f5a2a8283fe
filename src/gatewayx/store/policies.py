"""Fault policies: documents by name, switched on and off. What they mean is not known here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, insert, select, update

from gatewayx.store.audit import now_ms, record
from gatewayx.store.errors import NotStored, VersionConflict
from gatewayx.store.tables import Policy

if TYPE_CHECKING:
    from gatewayx.store.store import Store


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """One policy; see `Policy`."""

    name: str
    version: int
    document: dict[str, Any]
    enabled: bool
    created_ms: int
    updated_ms: int
    applied_ms: int | None
    applied_by: str | None


class Policies:
    """The policies of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[StoredPolicy]:
        """Every policy, by name."""
        with self._store.read() as conn:
            rows = conn.execute(select(Policy.__table__).order_by(Policy.name))
            return [StoredPolicy(*row) for row in rows]

    def find(self, name: str) -> StoredPolicy | None:
        """One policy, or None."""
        with self._store.read() as conn:
            return _find(conn, name)

    def put(
        self,
        name: str,
        document: dict[str, Any],
        actor: str,
        *,
        enabled: bool | None = None,
        version: int | None = None,
    ) -> StoredPolicy:
        """Create or replace a policy; it is put in force by it unless it is off.

        Args:
            name: Unique.
            document: What the policy says, ready for JSON.
            actor: Who does it.
            enabled: Whether it is on; None keeps what was, on for a new one.
            version: The one that must be stored, 0 for none; None takes any.

        Raises:
            VersionConflict: When another version is stored.
        """
        with self._store.change() as conn:
            old = _find(conn, name)
            found = old.version if old else 0
            if version is not None and version != found:
                raise VersionConflict(f"policy {name!r} has version {found}", found)
            now = now_ms()
            on = (old.enabled if old else True) if enabled is None else enabled
            values = {
                "version": found + 1,
                "document": document,
                "enabled": on,
                "updated_ms": now,
                "applied_ms": now if on else (old.applied_ms if old else None),
                "applied_by": actor if on else (old.applied_by if old else None),
            }
            if old is None:
                conn.execute(insert(Policy).values(name=name, created_ms=now, **values))
            else:
                conn.execute(update(Policy).where(Policy.name == name).values(**values))
            record(conn, actor, "replace" if old else "create", "policy", name)
            return _stored(conn, name)

    def enable(self, name: str, enabled: bool, actor: str) -> StoredPolicy:
        """Switch a policy on or off. Raises `NotStored`."""
        with self._store.change() as conn:
            old = _stored(conn, name)
            values: dict[str, Any] = {"enabled": enabled, "version": old.version + 1}
            values["updated_ms"] = now_ms()
            if enabled:
                values |= {"applied_ms": values["updated_ms"], "applied_by": actor}
            conn.execute(update(Policy).where(Policy.name == name).values(**values))
            record(conn, actor, "enable" if enabled else "disable", "policy", name)
            return _stored(conn, name)

    def delete(self, name: str, actor: str) -> None:
        """Forget a policy. Raises `NotStored`."""
        with self._store.change() as conn:
            _stored(conn, name)
            conn.execute(delete(Policy).where(Policy.name == name))
            record(conn, actor, "delete", "policy", name)


def _find(conn: Connection, name: str) -> StoredPolicy | None:
    row = conn.execute(select(Policy.__table__).where(Policy.name == name)).one_or_none()
    return None if row is None else StoredPolicy(*row)


def _stored(conn: Connection, name: str) -> StoredPolicy:
    found = _find(conn, name)
    if found is None:
        raise NotStored(f"there is no policy {name!r}")
    return found
