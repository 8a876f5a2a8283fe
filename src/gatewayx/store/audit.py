"""The audit log: who did what to what, written in the transaction that did it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, insert, select

from gatewayx.store.tables import AuditEntry

if TYPE_CHECKING:
    from gatewayx.store.store import Store

ENTRIES_MAX_COUNT = 100_000
"""The oldest entries beyond it are forgotten."""


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def record(
    conn: Connection,
    actor: str,
    action: str,
    kind: str,
    name: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write an entry in the caller's transaction; `detail` must hold no secret."""
    done = conn.execute(
        insert(AuditEntry).values(
            at_ms=now_ms(),
            actor=actor,
            action=action,
            kind=kind,
            name=name,
            detail=None if detail is None else dict(detail),
        )
    )
    key = done.inserted_primary_key
    if key is not None and key[0] % 1000 == 0:
        conn.execute(delete(AuditEntry).where(AuditEntry.id <= key[0] - ENTRIES_MAX_COUNT))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; see `AuditEntry`."""

    id: int
    at_ms: int
    actor: str
    action: str
    kind: str
    name: str
    detail: dict[str, Any] | None


class AuditLog:
    """Reads and writes the log of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(
        self,
        actor: str,
        action: str,
        kind: str,
        name: str,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an entry about something that the store does not do itself."""
        with self._store.write() as conn:
            record(conn, actor, action, kind, name, detail)

    def entries(self, *, limit: int = 100, before: int | None = None) -> list[Entry]:
        """The newest entries first; `before` continues a list at an id."""
        query = select(AuditEntry.__table__).order_by(AuditEntry.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditEntry.id < before)
        with self._store.read() as conn:
            return [Entry(*row) for row in conn.execute(query)]
