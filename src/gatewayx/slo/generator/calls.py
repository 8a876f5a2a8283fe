"""The truth that everything else is made from: calls between workloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Controller = Literal["traefik", "nginx", "gateway"]


@dataclass(frozen=True, slots=True)
class Workload:
    """A deployment in the mesh."""

    namespace: str
    name: str
    replicas: int = 2
    port: int = 80
    median_ms: float = 20.0
    spread: float = 0.6
    """Standard deviation of the logarithm of the latency."""
    error_share: float = 0.001
    meshed_callers: bool = True
    """False: calls arrive without mutual TLS."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where calls from outside come in: a domain and path at a controller."""

    controller: Controller
    domain: str
    path_prefix: str
    workload: Workload

    @property
    def service_key(self) -> str:
        """How the controller names the service behind it."""
        if self.controller == "gateway":
            return self.workload.name
        return f"{self.workload.namespace}-{self.workload.name}-{self.workload.port}"


@dataclass(frozen=True, slots=True)
class Edge:
    """One workload calling another; `src` is None for calls from outside the mesh."""

    src: Workload | None
    dst: Workload
    entry: Entry | None = None
    calls_per_second: float = 1.0


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one edge that were answered alike in one interval."""

    edge: Edge
    code: str
    method: str
    latencies_ms: tuple[float, ...]
    """One for each call."""

    @property
    def failed(self) -> bool:
        """As Linkerd classifies: the callee's fault."""
        return self.code.startswith("5")

    @property
    def classification(self) -> str:
        """The value of Linkerd's label."""
        return "failure" if self.failed else "success"
