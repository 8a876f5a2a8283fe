"""What keeps a fragile upstream alive: queue, circuit breaker, retries, load balancing.

All of it is off unless it is asked for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gatewayx.config.section import Section
from gatewayx.config.values import (
    Count,
    Duration,
    HeaderName,
    Kind,
    NonzeroCount,
    Size,
    StatusCode,
    Wait,
)

BreakerCount = Annotated[int, Field(ge=1, le=255), Kind("count from 1 to 255")]
BreakerThreshold = Annotated[int, Field(ge=0, le=255), Kind("count up to 255")]
Percent = Annotated[int, Field(ge=0, le=100), Kind("percent")]
WindowLength = Annotated[float, Field(ge=1, le=3600, strict=False), Kind("seconds from 1 to 3600")]
VolumeCount = Annotated[int, Field(ge=1, le=10_000), Kind("count from 1 to 10000")]
Weight = Annotated[int, Field(ge=1, le=1000)]


class AdaptiveConfig(Section):
    """Finds the limit by itself, between `limit_min` and `max_concurrent`, one for all workers: it
    grows while the upstream answers about as fast as without load, and falls when the time to the
    first byte says that requests wait inside the upstream. It begins at `limit_min`.
    """

    limit_min: Annotated[int, Field(ge=1, le=65_535), Kind("count from 1 to 65535")] = Field(
        default=4, description="Least limit."
    )
    interval: Annotated[
        float, Field(ge=0.05, le=60, strict=False), Kind("seconds from 0.05 to 60")
    ] = Field(default=1, description="Least time between two changes of the limit.")
    samples_min: Annotated[int, Field(ge=1, le=10_000), Kind("count from 1 to 10000")] = Field(
        default=20,
        description="Responses that a change needs; with less traffic the interval is longer.",
    )
    tolerance_percent: Annotated[int, Field(ge=0, le=1_000), Kind("percent up to 1000")] = Field(
        default=25, description="How much slower than without load the upstream may answer."
    )
    measure_every: Annotated[int, Field(ge=4, le=100_000), Kind("count from 4 to 100000")] = Field(
        default=60,
        description="Intervals after which the time without load is measured anew. Under load the"
        " limit is halved for two intervals to do so.",
    )


class QueueConfig(Section):
    """Where requests over `max_concurrent` wait. Without it they are refused at once: 429."""

    size: NonzeroCount = Field(
        default=100,
        description="Requests that wait, in each worker. Over it: 429, `queue_full`.",
    )
    timeout: Wait = Field(default=5, description="Longest wait. Past it: 503, `queue_timeout`.")
    order: Annotated[Literal["fifo", "lifo"], Kind("`fifo` or `lifo`")] = Field(
        default="fifo",
        description="Who is served first. `lifo` serves those whose callers still wait, at the "
        "price of those who have waited longest.",
    )
    priority_header: HeaderName | None = Field(
        default=None,
        description="A request field with a digit, 0 to 9: the higher are served before the lower.",
    )


class BreakerWindowConfig(Section):
    """Shares of failed and of slow calls that open the circuit too, over a sliding window that is
    one for all workers. Only a failed or slow call opens it, never a good one.
    """

    length: WindowLength = Field(
        default=10, description="How far back calls count, in steps of a tenth."
    )
    volume_min: VolumeCount = Field(
        default=20,
        description="Calls in the window below which no share says anything: one failure after a "
        "quiet night is 100 %.",
    )
    failure_percent: Percent = Field(
        default=50, description="Failed calls of all that open the circuit. 0 = none do."
    )
    slow_percent: Percent = Field(
        default=0,
        description="Slow calls of all that open the circuit. 0 = none do. When set, a slow probe"
        " is a failed one.",
    )
    slow_after: Wait = Field(
        default=1,
        description="A call is slow when so much time goes by between its request, whole and ready"
        " to be sent, and its response head.",
    )


class BreakerConfig(Section):
    """The circuit breaker of a proxy, one for all workers. Open: 503, `circuit_open`. Callers that
    leave are neither failures nor successes.
    """

    enabled: bool = Field(default=False, description="Whether failures open the circuit.")
    failure_threshold: BreakerThreshold = Field(
        default=5,
        description="Failures in a row that open it. 0 = none do; then `window` must say when.",
    )
    window: BreakerWindowConfig | None = None
    recovery_timeout: Wait = Field(
        default=30, description="How long it stays open before a probe is let through, at least."
    )
    recovery_jitter_percent: Percent = Field(
        default=0,
        description="How much longer it may stay open, drawn each time: many gateways that lost the"
        " same upstream then do not all probe it at once. Never shorter.",
    )
    half_open_requests: BreakerCount = Field(
        default=1, description="Probes that are let through and must succeed to close it."
    )
    failure_statuses: Annotated[
        tuple[StatusCode, ...], Field(strict=False, max_length=100), Kind("list of status codes")
    ] = Field(
        default=(),
        description="Responses that are failures, beside failed connections and time-outs; none ="
        " every 5xx.",
    )
    header: bool = Field(
        default=False, description="Whether responses tell the state in X-Circuit-Breaker."
    )


RetryCondition = Literal["connect_failure", "reset", "timeout"]


class RetryConfig(Section):
    """Which failed attempts are repeated. A request that the upstream may have executed is repeated
    only if its method is idempotent.
    """

    attempts: Annotated[int, Field(ge=2, le=10), Kind("count from 2 to 10")] = Field(
        default=2, description="Attempts in all, the first one included."
    )
    retry_on: Annotated[
        tuple[RetryCondition, ...],
        Field(strict=False),
        Kind("list of `connect_failure`, `reset`, `timeout`"),
    ] = Field(
        default=("connect_failure", "reset"),
        description="Failures that are repeated: no connection, a connection that ended without a "
        "response, no response head in time.",
    )
    statuses: Annotated[
        tuple[StatusCode, ...], Field(strict=False, max_length=100), Kind("list of status codes")
    ] = Field(default=(), description="Responses that are repeated.")
    backoff: Wait = Field(
        default=0.025,
        description="Wait before the second attempt, doubled for each that follows; half of it is "
        "drawn at random.",
    )
    backoff_max: Wait = Field(default=1, description="Longest such wait.")
    budget_percent: Annotated[int, Field(ge=0, le=100), Kind("percent")] = Field(
        default=20, description="Retries as a share of the requests of the last ten seconds."
    )
    budget_floor: Count = Field(
        default=3, description="Retries in ten seconds that are allowed whatever the traffic."
    )
    body_max: Size = Field(
        default=64 << 10, description="Largest request body that is kept to be sent again."
    )


class EjectionConfig(Section):
    """When an upstream is set aside for the failures of its answers."""

    failures: Count = Field(default=0, description="Failures in a row. 0 = never.")
    time: Wait = Field(
        default=30, description="How long, times the number of times that it has happened."
    )
    time_max: Wait = Field(default=300, description="Longest time.")
    percent_max: Annotated[int, Field(ge=0, le=100), Kind("percent")] = Field(
        default=50, description="Most upstreams that are aside at once; never the last one."
    )


Algorithm = Literal["round_robin", "least_connections", "random_of_two", "consistent_hash"]


class LoadBalancingConfig(Section):
    """How one of several upstreams is chosen, in each worker."""

    algorithm: Annotated[
        Algorithm,
        Kind("`round_robin`, `least_connections`, `random_of_two` or `consistent_hash`"),
    ] = Field(default="round_robin", description="By which rule.")
    weights: Annotated[
        tuple[Weight, ...], Field(strict=False, max_length=64), Kind("list of counts")
    ] = Field(default=(), description="Share of each of `upstreams`; none = the same for all.")
    hash_header: HeaderName | None = Field(
        default=None,
        description="What `consistent_hash` hashes; none = the caller's address.",
    )
    slow_start: Duration = Field(
        default=0, description="How long an upstream that comes back gets less than its share."
    )
    ejection: EjectionConfig = EjectionConfig()
