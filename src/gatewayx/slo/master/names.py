"""Names to small integers and back.

The dictionary tables only grow within a transaction and are cached for the life of the process. A
name learnt in a transaction becomes visible to others only when that transaction has committed: a
rolled-back snapshot leaves no trace, in memory as on disk.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Table, select

from gatewayx.slo.master import tables
from gatewayx.slo.master.settings import Limits
from gatewayx.slo.master.store import Store
from gatewayx.slo.snapshot import bound_ms

Key = TypeVar("Key", bound=Hashable)


class LimitReached(Exception):
    """A snapshot would make the master hold more names than it is set to."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"more than {limit} {what}")


@dataclass(frozen=True, slots=True)
class BoundSet:
    """The bounds of a histogram, as numbers and as written."""

    bounds_ms: tuple[float, ...]
    keys: tuple[str, ...]


class Dictionary(Generic[Key]):
    """One dictionary table within one scope (a cluster, or the whole database)."""

    def __init__(
        self, store: Store, table: Table, scope: Mapping[str, int], columns: tuple[str, ...]
    ) -> None:
        self._store = store
        self._table = table
        self._scope = dict(scope)
        self._columns = columns
        self._ids: dict[Any, int] = {}
        self._keys: dict[int, Any] = {}

    def ids(self) -> Mapping[Key, int]:
        """Every committed name that this process has met."""
        return self._ids

    def key(self, conn: Connection, identity: int) -> Key:
        """The name of an id that a row refers to."""
        if identity not in self._keys:
            self.load(conn)
        found: Key = self._keys[identity]
        return found

    def find(self, conn: Connection, key: Key) -> int | None:
        """The id of a name; None when nobody has reported it."""
        if key not in self._ids:
            self.load(conn)
        return self._ids.get(key)

    def load(self, conn: Connection) -> None:
        """Read what is committed, including what other processes added."""
        self.publish(self._read(conn))

    def forget(self) -> None:
        """Empty the cache; ids may have been removed."""
        self._ids, self._keys = {}, {}

    def publish(self, learnt: Mapping[Any, int]) -> None:
        """Make names visible; only for names that are committed."""
        # Replaced, never changed in place: readers hold on to the mapping they began with.
        self._ids = {**self._ids, **learnt}
        self._keys = {**self._keys, **{identity: key for key, identity in learnt.items()}}

    def intern(self, conn: Connection, wanted: Iterable[Key], limit: int) -> Mapping[Key, int]:
        """Ids of names, adding those that are new; the caller publishes after its commit.

        Raises:
            LimitReached: there would be more than `limit` names.
        """
        missing = [key for key in dict.fromkeys(wanted) if key not in self._ids]
        if not missing:
            return self._ids
        known = self._read(conn)
        fresh = [key for key in missing if key not in known]
        if len(known) + len(fresh) > limit:
            raise LimitReached(self._table.name.removeprefix("slo_").replace("_", " "), limit)
        if fresh:
            rows = [
                self._scope | dict(zip(self._columns, self._parts(key), strict=True))
                for key in fresh
            ]
            conn.execute(self._store.insert(self._table).on_conflict_do_nothing(), rows)
            known = self._read(conn)
        return known

    def _parts(self, key: Any) -> tuple[Any, ...]:
        return key if len(self._columns) > 1 else (key,)

    def _read(self, conn: Connection) -> dict[Any, int]:
        columns = self._table.c
        query = select(columns.id, *(columns[name] for name in self._columns))
        for name, value in self._scope.items():
            query = query.where(columns[name] == value)
        rows = conn.execute(query).all()
        if len(self._columns) == 1:
            return {row[1]: row[0] for row in rows}
        return {tuple(row[1:]): row[0] for row in rows}


@dataclass(frozen=True, slots=True)
class ClusterNames:
    """The names of one cluster."""

    cluster_id: int
    cluster: str
    agents: Dictionary[str]
    services: Dictionary[tuple[str, str]]
    edges: Dictionary[tuple[int, int]]
    ingress: Dictionary[str]

    def forget(self) -> None:
        """Empty the caches of names that the cleaner may remove."""
        self.services.forget()
        self.edges.forget()
        self.ingress.forget()


class UnknownCluster(LookupError):
    """A cluster that this master does not serve."""


class Names:
    """Every dictionary of one database."""

    def __init__(self, store: Store, clusters: Iterable[str], limits: Limits) -> None:
        self.limits = limits
        self.bounds: Dictionary[str] = Dictionary(store, tables.bucket_bounds, {}, ("bounds",))
        self._bound_sets: dict[int, BoundSet] = {}
        directory: Dictionary[str] = Dictionary(store, tables.clusters, {}, ("name",))
        wanted = tuple(clusters)
        with store.write() as conn:
            ids = directory.intern(conn, wanted, limit=1000)
        self._clusters = {name: _cluster_names(store, name, ids[name]) for name in wanted}
        with store.read() as conn:
            self.bounds.load(conn)

    def clusters(self) -> Iterable[ClusterNames]:
        """The clusters that this master serves."""
        return self._clusters.values()

    def cluster(self, name: str) -> ClusterNames:
        """The names of one cluster.

        Raises:
            UnknownCluster: the master is not set up for it.
        """
        try:
            return self._clusters[name]
        except KeyError:
            raise UnknownCluster(name) from None

    def bound_set(self, conn: Connection, bounds_id: int) -> BoundSet:
        """The bounds that a row's `bounds_id` stands for."""
        found = self._bound_sets.get(bounds_id)
        if found is None:
            keys = tuple(self.bounds.key(conn, bounds_id).split(","))
            found = BoundSet(tuple(bound_ms(key) for key in keys), keys)
            self._bound_sets[bounds_id] = found
        return found


def _cluster_names(store: Store, name: str, cluster_id: int) -> ClusterNames:
    scope = {"cluster_id": cluster_id}
    return ClusterNames(
        cluster_id=cluster_id,
        cluster=name,
        agents=Dictionary(store, tables.agents, scope, ("name",)),
        services=Dictionary(store, tables.services, scope, ("namespace", "name")),
        edges=Dictionary(store, tables.edges, scope, ("source_id", "target_id")),
        ingress=Dictionary(store, tables.ingress_keys, scope, ("service_key",)),
    )
