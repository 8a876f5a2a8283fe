"""Objectives: what availability and latency each service and ingress key owes its users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, select

from gatewayx.slo.master import tables
from gatewayx.slo.master.figures import Figures, TargetType
from gatewayx.slo.master.settings import DefaultTarget
from gatewayx.slo.master.store import Store


class Status(StrEnum):
    """How a service does against its target."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


class TargetBody(BaseModel):
    """A target as the API takes it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    target_type: TargetType
    target_key: Annotated[str, Field(min_length=1, max_length=507)]
    """`namespace/name` of a service, or the key of an ingress."""
    availability_percent: float | None = Field(default=None, gt=0, lt=100, allow_inf_nan=False)
    p95_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    window_days: int | None = Field(default=None, ge=1, le=90)
    events_min: int | None = Field(default=None, ge=1)


@dataclass(frozen=True, slots=True)
class Target:
    """The objective of one service or ingress key."""

    target_type: TargetType
    target_key: str
    availability_percent: float
    p95_ms: float
    window_days: int
    events_min: int
    is_default: bool

    @property
    def error_ratio_max(self) -> float:
        """The share of requests that may fail."""
        return (100.0 - self.availability_percent) / 100.0

    @property
    def window_s(self) -> int:
        """Length of the budget's rolling window."""
        return self.window_days * 86400

    def judge(self, figures: Figures, p95_ms: float | None) -> Status:
        """The status that figures amount to.

        Critical: fewer requests succeeded than promised. Warning: more than half of the allowed
        errors happened, or the p95 is above its objective. Unknown: nothing happened.
        """
        if not figures.total:
            return Status.UNKNOWN
        error_ratio = figures.errors / figures.total
        if error_ratio > self.error_ratio_max:
            return Status.CRITICAL
        slow = p95_ms is not None and p95_ms > self.p95_ms
        if slow or error_ratio > self.error_ratio_max / 2:
            return Status.WARNING
        return Status.HEALTHY


class TargetBook:
    """The targets of one cluster; what has none of its own gets the default."""

    def __init__(self, default: DefaultTarget, own: Mapping[tuple[str, str], Target]) -> None:
        self._default = default
        self.own = own

    def find(self, target_type: TargetType, target_key: str) -> Target:
        """The target in force."""
        found = self.own.get((target_type, target_key))
        if found is not None:
            return found
        return Target(target_type, target_key, **self._default.model_dump(), is_default=True)


def load_targets(conn: Connection, cluster_id: int, default: DefaultTarget) -> TargetBook:
    """Read the targets of a cluster."""
    c = tables.targets.c
    rows = conn.execute(
        select(
            c.target_type,
            c.target_key,
            c.availability_percent,
            c.p95_ms,
            c.window_days,
            c.events_min,
        ).where(c.cluster_id == cluster_id)
    )
    own = {(row[0], row[1]): Target(*row, is_default=False) for row in rows}
    return TargetBook(default, own)


def put_targets(
    store: Store,
    conn: Connection,
    cluster_id: int,
    bodies: Iterable[TargetBody],
    default: DefaultTarget,
    now_ms: int,
) -> None:
    """Set targets; a field left out keeps its value, or the default on a new target."""
    book = load_targets(conn, cluster_id, default)
    rows = {}
    for body in bodies:
        old = book.find(body.target_type, body.target_key)
        given = body.model_dump(exclude_none=True, exclude={"target_type", "target_key"})
        kept = {
            name: getattr(old, name)
            for name in ("availability_percent", "p95_ms", "window_days", "events_min")
        }
        rows[body.target_type, body.target_key] = {
            "cluster_id": cluster_id,
            "target_type": body.target_type,
            "target_key": body.target_key,
            **kept,
            **given,
            "updated_ms": now_ms,
        }
    store.upsert(conn, tables.targets, list(rows.values()))


def split_service_key(target_key: str) -> tuple[str, str]:
    """`namespace/name` in two.

    Raises:
        ValueError: there is no slash in it.
    """
    namespace, slash, name = target_key.partition("/")
    if not (namespace and slash and name):
        raise ValueError(f"{target_key!r} is not namespace/name")
    return namespace, name
