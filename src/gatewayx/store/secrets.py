"""Named secrets: written by anyone who may, read only by the gateway itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from gatewayx.store.audit import now_ms, record
from gatewayx.store.errors import NotStored
from gatewayx.store.tables import Secret

if TYPE_CHECKING:
    from gatewayx.store.store import Store


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """That a secret is there, and since when."""

    name: str
    created_ms: int
    updated_ms: int


class Secrets:
    """The secrets of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[StoredSecret]:
        """Every secret's name, without its text."""
        query = select(Secret.name, Secret.created_ms, Secret.updated_ms).order_by(Secret.name)
        with self._store.read() as conn:
            return [StoredSecret(*row) for row in conn.execute(query)]

    def texts(self) -> dict[str, str]:
        """Every secret's text by name, for `{secret.NAME}`. Raises `StoreError` for a wrong key."""
        with self._store.read() as conn:
            rows = conn.execute(select(Secret.name, Secret.sealed_text)).all()
        return {name: self._store.key.open(sealed, f"secret/{name}") for name, sealed in rows}

    def put(self, name: str, text: str, actor: str) -> bool:
        """Set a secret; whether it is new."""
        sealed = self._store.key.seal(text, f"secret/{name}")
        with self._store.change() as conn:
            now = now_ms()
            values = {"sealed_text": sealed, "updated_ms": now}
            done = conn.execute(update(Secret).where(Secret.name == name).values(**values))
            is_new = not done.rowcount
            if is_new:
                conn.execute(insert(Secret).values(name=name, created_ms=now, **values))
            record(conn, actor, "create" if is_new else "replace", "secret", name)
            return is_new

    def delete(self, name: str, actor: str) -> None:
        """Forget a secret. Raises `NotStored`."""
        with self._store.change() as conn:
            if not conn.execute(delete(Secret).where(Secret.name == name)).rowcount:
                raise NotStored(f"there is no secret {name!r}")
            record(conn, actor, "delete", "secret", name)
