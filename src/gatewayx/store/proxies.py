"""Proxies and their history. Documents are the model's, with only what was set in them.

Whether a document is valid is for the configuration to say: before it is stored, and once more when
it is read, since another version may have written it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, delete, func, insert, select, update

from gatewayx.store.audit import now_ms, record
from gatewayx.store.errors import NotStored, VersionConflict
from gatewayx.store.records import StoredProxy, StoredRevision
from gatewayx.store.tables import Proxy, Revision

if TYPE_CHECKING:
    from gatewayx.store.store import Store

REVISIONS_MAX_COUNT = 100
"""Versions that are kept of each proxy."""

_OWN = {"name", "version", "sealed_headers", "options"}
_COLUMNS = tuple(name for name in Proxy.__table__.columns.keys() if name not in _OWN)  # noqa: SIM118


class Proxies:
    """The proxies of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[StoredProxy]:
        """Every proxy, by name."""
        with self._store.read() as conn:
            rows = conn.execute(select(Proxy.__table__).order_by(Proxy.name)).mappings().all()
        return [self._read(row) for row in rows]

    def find(self, name: str) -> StoredProxy | None:
        """One proxy, or None."""
        with self._store.read() as conn:
            return self._find(conn, name)

    def put(
        self, name: str, document: dict[str, Any], actor: str, *, version: int | None = None
    ) -> StoredProxy:
        """Create or replace a proxy.

        Args:
            name: The document's.
            document: Valid, ready for JSON.
            actor: Who does it.
            version: The one that must be stored, 0 for none; None takes any.

        Raises:
            VersionConflict: When another version is stored.
        """
        with self._store.change() as conn:
            return self.put_in(conn, name, document, actor, version=version)

    def put_in(
        self,
        conn: Connection,
        name: str,
        document: dict[str, Any],
        actor: str,
        *,
        version: int | None = None,
        action: str | None = None,
    ) -> StoredProxy:
        """`put`, in a transaction of `Store.change` that does more."""
        found = _expect(conn, name, version)
        latest = conn.execute(
            select(func.max(Revision.version)).where(Revision.name == name)
        ).scalar()
        stored = StoredProxy(name, (latest or 0) + 1, document, created=not found)
        values = self._write(stored)
        if found:
            conn.execute(update(Proxy).where(Proxy.name == name).values(**values))
        else:
            conn.execute(insert(Proxy).values(**values))
        self._remember(conn, stored, document, actor)
        detail = {"version": stored.version}
        record(conn, actor, action or ("replace" if found else "create"), "proxy", name, detail)
        return stored

    def delete(self, name: str, actor: str, *, version: int | None = None) -> None:
        """Forget a proxy, not its history. Raises `NotStored` or `VersionConflict`."""
        with self._store.change() as conn:
            found = _expect(conn, name, version)
            if not found:
                raise NotStored(f"there is no stored proxy {name!r}")
            conn.execute(delete(Proxy).where(Proxy.name == name))
            self._remember(conn, StoredProxy(name, found + 1, {}), None, actor)
            record(conn, actor, "delete", "proxy", name, {"version": found + 1})

    def history(self, name: str) -> list[StoredRevision]:
        """Every version that is kept, the newest first."""
        query = select(Revision.__table__).where(Revision.name == name)
        with self._store.read() as conn:
            rows = conn.execute(query.order_by(Revision.version.desc())).all()
        return [self._revision(*row) for row in rows]

    def revision(self, name: str, version: int) -> StoredRevision | None:
        """One version, or None."""
        query = select(Revision.__table__).where(Revision.name == name, Revision.version == version)
        with self._store.read() as conn:
            row = conn.execute(query).one_or_none()
        return None if row is None else self._revision(*row)

    def _find(self, conn: Connection, name: str) -> StoredProxy | None:
        query = select(Proxy.__table__).where(Proxy.name == name)
        row = conn.execute(query).mappings().one_or_none()
        return None if row is None else self._read(row)

    def _write(self, stored: StoredProxy) -> dict[str, Any]:
        rest = dict(stored.document)
        rest.pop("name", None)
        headers = rest.pop("headers", None)
        values: dict[str, Any] = {name: rest.pop(name, None) for name in _COLUMNS}
        sealed = None
        if headers is not None:
            sealed = self._store.key.seal(to_json(headers).decode(), f"headers/{stored.name}")
        return {
            "name": stored.name,
            "version": stored.version,
            "sealed_headers": sealed,
            "options": rest or None,
            **values,
        }

    def _read(self, row: Any) -> StoredProxy:
        document = {"name": row["name"]}
        document |= {name: row[name] for name in _COLUMNS if row[name] is not None}
        document |= row["options"] or {}
        if row["sealed_headers"] is not None:
            opened = self._store.key.open(row["sealed_headers"], f"headers/{row['name']}")
            document["headers"] = from_json(opened)
        return StoredProxy(row["name"], row["version"], document)

    def _remember(
        self,
        conn: Connection,
        stored: StoredProxy,
        document: dict[str, Any] | None,
        actor: str,
    ) -> None:
        sealed = None
        if document is not None:
            place = f"revision/{stored.name}/{stored.version}"
            sealed = self._store.key.seal(to_json(document).decode(), place)
        conn.execute(
            insert(Revision).values(
                name=stored.name,
                version=stored.version,
                sealed_document=sealed,
                at_ms=now_ms(),
                actor=actor,
            )
        )
        oldest = stored.version - REVISIONS_MAX_COUNT
        conn.execute(
            delete(Revision).where(Revision.name == stored.name, Revision.version <= oldest)
        )

    def _revision(
        self, name: str, version: int, sealed: str | None, at_ms: int, actor: str
    ) -> StoredRevision:
        document = None
        if sealed is not None:
            document = from_json(self._store.key.open(sealed, f"revision/{name}/{version}"))
        return StoredRevision(name, version, document, at_ms, actor)

    def expect(self, conn: Connection, name: str, version: int | None) -> int:
        """The version that is stored, 0 for none. Raises `VersionConflict` for another one."""
        return _expect(conn, name, version)


def _expect(conn: Connection, name: str, version: int | None) -> int:
    found = conn.execute(select(Proxy.version).where(Proxy.name == name)).scalar() or 0
    if version is not None and version != found:
        what = f"has version {found}" if found else "is not stored"
        raise VersionConflict(f"proxy {name!r} {what}", found)
    return found
