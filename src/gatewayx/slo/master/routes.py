"""Which domain and path lead to which service key.

A route is refreshed while agents report it and is valid for the ranges in which it was last seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from gatewayx.slo.master import tables
from gatewayx.slo.master.store import Store
from gatewayx.slo.snapshot import Route

# A route's `last_seen_ms` may lag by this much, so that an unchanged table costs no writes.
REFRESH_MS = 60_000


@dataclass(frozen=True, slots=True)
class MappedRoute:
    """One row of the route mapping."""

    domain: str
    path_prefix: str
    service_key: str
    service_name: str
    service_port: str
    tls: bool
    first_seen_ms: int
    last_seen_ms: int

    def namespace(self) -> str | None:
        """The namespace, where the service key is `namespace-service-port`."""
        parts = (
            (self.service_name, self.service_port) if self.service_port else (self.service_name,)
        )
        tail = "-" + "-".join(parts)
        head = self.service_key.removesuffix(tail)
        return head if head and head != self.service_key else None


def mapped_routes(
    conn: Connection, cluster_id: int, *, seen_since_ms: int = 0
) -> list[MappedRoute]:
    """The routes last seen at or after a moment, ordered by domain and path."""
    table = tables.route_mapping
    query = (
        select(*(table.c[name] for name in MappedRoute.__dataclass_fields__))
        .where(table.c.cluster_id == cluster_id, table.c.last_seen_ms >= seen_since_ms)
        .order_by(table.c.domain, table.c.path_prefix, table.c.service_key)
    )
    return [MappedRoute(*row) for row in conn.execute(query)]


def record_routes(
    store: Store, conn: Connection, cluster_id: int, routes: Iterable[Route], at_ms: int
) -> None:
    """Add new routes and refresh known ones."""
    reported = list(routes)
    if not reported:
        return
    known = {
        (route.domain, route.path_prefix, route.service_key): route
        for route in mapped_routes(conn, cluster_id)
    }
    rows = []
    for route in reported:
        old = known.get((route.domain, route.path_prefix, route.service_key))
        fields = {
            "service_name": route.service_name,
            "service_port": route.service_port,
            "tls": route.tls,
        }
        fresh = old is not None and at_ms - old.last_seen_ms < REFRESH_MS
        if fresh and all(getattr(old, name) == value for name, value in fields.items()):
            continue
        rows.append(
            {
                "cluster_id": cluster_id,
                "domain": route.domain,
                "path_prefix": route.path_prefix,
                "service_key": route.service_key,
                **fields,
                "first_seen_ms": old.first_seen_ms if old else at_ms,
                "last_seen_ms": max(at_ms, old.last_seen_ms) if old else at_ms,
            }
        )
    store.upsert(conn, tables.route_mapping, rows)
