"""What the admin API reads of the running gateway, which the supervisor provides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from gatewayx.chaos import PolicyBook
from gatewayx.config import GatewayConfig

BreakerOrder = Literal["open", "closed", "auto"]


class Family(NamedTuple):
    """All series of one metric, summed over the workers.

    Attributes:
        name: Of the family; a counter's with or without the `_total` of its series.
        kind: Of every series.
        help: One sentence.
        label_names: In the order of the label values of a sample.
        samples: `(label_values, value)`, or for a histogram `(label_values, buckets, sum)`, where
            buckets are cumulative counts, one for each bound and a last one for +Inf.
        bounds: Upper bounds of a histogram's buckets, without +Inf; empty for other kinds.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    label_names: tuple[str, ...]
    samples: Sequence[tuple[Any, ...]]
    bounds: tuple[float, ...] = ()

    @property
    def series_name(self) -> str:
        """The name that users see in a query."""
        is_bare_counter = self.kind == "counter" and not self.name.endswith("_total")
        return f"{self.name}_total" if is_bare_counter else self.name


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker process, now.

    Attributes:
        slot: Its place among the workers, from 0; a replacement takes the same one.
        pid: The process that holds the slot.
        state: starting, serving, draining or dead.
        restarts: How often the slot's process has been replaced.
    """

    slot: int
    pid: int
    state: str
    restarts: int


class AdminState(Protocol):
    """The running gateway, as the admin API sees it. Methods are quick and run on the loop."""

    @property
    def config(self) -> GatewayConfig:
        """The configuration in force."""
        ...

    @property
    def policies(self) -> PolicyBook:
        """The fault policies."""
        ...

    def metrics(self) -> Iterable[tuple[Any, ...]]:
        """Rows with the items of `Family`, in its order."""
        ...

    def metrics_text(self, openmetrics: bool) -> bytes:
        """The same as exposition text: OpenMetrics without its end mark, or Prometheus' own."""
        ...

    def ready(self) -> bool:
        """Whether the gateway accepts requests."""
        ...

    def workers(self) -> Sequence[WorkerStatus]:
        """Every worker slot."""
        ...

    def forced_breaker(self, proxy: str) -> str:
        """What a proxy's circuit breaker is forced to: `open`, `closed`, or `auto`.

        Raises:
            KeyError: When there is no such proxy.
            NoBreakerError: When its breaker is not enabled.
        """
        ...

    def force_breaker(self, proxy: str, state: BreakerOrder) -> None:
        """Keep a proxy's breaker open or closed in every worker, or have it decide again.

        Raises as `forced_breaker`.
        """
        ...

    def health(self, proxy: str) -> list[dict[str, Any]]:
        """What health checks know of a proxy's upstreams; empty when it has none."""
        ...

    def drain(self) -> None:
        """Begin to stop, as at SIGTERM."""
        ...

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again and put it in force; what has changed.

        Raises:
            ConfigError: With every fault of the file.
            ReloadError: When it is valid and cannot be put in force.
            Nothing has changed in either case.
        """
        ...


class NoBreakerError(Exception):
    """A proxy has no circuit breaker that could be forced."""


class ReloadError(Exception):
    """A configuration cannot be put in force now; the text says why."""


class NoStoreError(Exception):
    """What is asked for needs a store, and there is none."""
