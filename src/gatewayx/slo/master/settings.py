"""Everything about the master that can be set, with its unit, default and bound."""

from __future__ import annotations

import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Clock = Callable[[], int]
"""Milliseconds since the epoch, UTC."""


def system_clock() -> int:
    """The wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class BurnRule(BaseModel):
    """One row of the burn-rate table: both windows must burn faster than `factor`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    severity: str
    factor: float = Field(gt=0)
    long_s: int = Field(gt=0)
    short_s: int = Field(gt=0)
    hold_s: int = Field(ge=0)
    """How long the condition must last before the alert fires; Prometheus calls it `for`."""


# The SRE workbook's table for a 30 day budget. The holds are ours: one evaluation must not page.
WORKBOOK_RULES: tuple[BurnRule, ...] = (
    BurnRule(severity="page", factor=14.4, long_s=3600, short_s=300, hold_s=60),
    BurnRule(severity="page", factor=6.0, long_s=6 * 3600, short_s=1800, hold_s=60),
    BurnRule(severity="ticket", factor=3.0, long_s=86400, short_s=2 * 3600, hold_s=900),
    BurnRule(severity="ticket", factor=1.0, long_s=3 * 86400, short_s=6 * 3600, hold_s=900),
)


class DefaultTarget(BaseModel):
    """The objective of a service or an ingress key that has none of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    availability_percent: float = Field(default=99.9, gt=0, lt=100)
    p95_ms: float = Field(default=500.0, gt=0)
    window_days: int = Field(default=30, ge=1, le=90)
    events_min: int = Field(default=100, ge=1)
    """Fewer events than this in a burn rule's long window: no verdict, "insufficient data"."""


class Limits(BaseModel):
    """Bounds on what agents can make the master hold. Past one, the snapshot is refused (422)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_max_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    services_max: int = Field(default=20_000, ge=1)
    edges_max: int = Field(default=100_000, ge=1)
    ingress_max: int = Field(default=10_000, ge=1)
    routes_max: int = Field(default=20_000, ge=1)
    bound_sets_max: int = Field(default=256, ge=1)
    buckets_max: int = Field(default=128, ge=1)
    future_max_ms: int = Field(default=60_000, ge=0)
    """How far an agent's clock may run ahead of the master's."""
    late_max_s: int = Field(default=24 * 3600, ge=60)
    """How old a snapshot may be; must stay below the retention of raw rows."""
    interval_max_s: int = Field(default=3600, ge=1)


class Retention(BaseModel):
    """How long each kind of row is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fine_s: int = Field(default=48 * 3600, ge=2 * 3600)
    """Raw rows and their five-minute sums."""
    hourly_s: int = Field(default=90 * 86400, ge=86400)
    """Hourly rows and their daily sums."""
    history_s: int = Field(default=180 * 86400, ge=86400)
    """Status changes and resolved alerts."""


class MasterSettings(BaseModel):
    """The master's configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store_url: str = "sqlite:///gatewayx-slo.db"
    clusters: tuple[str, ...] = ("default",)
    """Clusters whose snapshots are taken; any other is foreign and refused with 403."""
    agent_token: SecretStr | None = None
    """What agents present to post snapshots; none = open, for loopback listeners only."""
    reader_token: SecretStr | None = None
    """What readers and operators present; none = open, or the embedding application's own rule."""
    webhook_url: str | None = None
    webhook_token: SecretStr | None = None
    external_url: str = "http://127.0.0.1:9911"
    """Where people reach this master; alerts link to it."""
    target: DefaultTarget = DefaultTarget()
    burn_rules: tuple[BurnRule, ...] = WORKBOOK_RULES
    limits: Limits = Limits()
    retention: Retention = Retention()
    rollup_interval_s: float = Field(default=60.0, gt=0)
    evaluation_interval_s: float = Field(default=30.0, gt=0)
    cleaner_interval_s: float = Field(default=3600.0, gt=0)
