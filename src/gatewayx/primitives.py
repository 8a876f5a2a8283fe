"""The native parts of the gateway, for use on their own.

Each may be used from any thread. `ConcurrencyLimiter` also waits in coroutines; `Counter` and
`Histogram` also count across processes, in a `SharedRegion`:

    region = SharedRegion.create(cells=64)
    requests = Counter(region=region, cell=0)
    latency = Histogram(region=region, cell=8)

`parse_request` reads a request head by the gateway's own strict rules.

Another process attaches `region.fd` (inherited, or sent over a Unix socket) and names the same
cells.
"""

from gatewayx._native import (
    Buffer,
    BufferPool,
    CircuitBreaker,
    ConcurrencyLimiter,
    Counter,
    Histogram,
    HistogramSnapshot,
    SharedRegion,
    parse_request,
)

__all__ = [
    "Buffer",
    "BufferPool",
    "CircuitBreaker",
    "ConcurrencyLimiter",
    "Counter",
    "Histogram",
    "HistogramSnapshot",
    "SharedRegion",
    "parse_request",
]
