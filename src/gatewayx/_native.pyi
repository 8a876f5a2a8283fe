"""The native extension. Private: users import `gatewayx`, not this."""

import asyncio
from typing import Any, Protocol, final

from typing_extensions import Buffer

__version__: str

# The driver and what it records: native/python/src/{driver,protocol,metrics,receive_buffer}.rs

class DriverHost(Protocol):
    """What a loop does for a `Driver`. None of it is called once a request."""

    def dial(self, token: int, host: str, port: int, tls: bool) -> None: ...
    def cancel_dial(self, token: int) -> None: ...
    def arm(self, seconds: float) -> None: ...
    def arm_log_flush(self) -> None: ...
    def warn(self, proxy: str, what: str) -> None: ...
    def close_within_bounds(self, transport: asyncio.Transport) -> None: ...

@final
class Driver:
    """An engine, its open connections, and the loop's side of both.

    Bound to the thread that made it.

    Args:
        host: Calls back for dials, timers and slow closes.
        config: The compiled configuration as JSON.
        metrics: Where to record.
        slot: This worker's place in `metrics`.
        seed: Of the request ids.
        buffer_size: Of the receive buffer, in bytes.
        log_fd: Where access log lines are written; open until `close_log` has returned.

    Raises:
        ValueError: When `config` is not what the engine reads.
    """

    def __new__(
        cls,
        host: DriverHost,
        config: bytes,
        metrics: Metrics,
        *,
        slot: int = 0,
        seed: int = 0,
        buffer_size: int = 32768,
        log_fd: int | None = None,
    ) -> Driver: ...
    def configure(self, config: bytes) -> None:
        """Switch to another configuration; exchanges under way finish on the old one."""

    def handle_timer(self) -> None:
        """The time that `arm` asked for has come."""

    def handle_dial_failed(self, token: int, timed_out: bool) -> None:
        """A dial gave no connection."""

    def drain(self) -> None:
        """Close idle connections now and busy ones after their exchange."""

    def shutdown(self) -> None:
        """Cut what is under way and close everything."""

    def flush_log(self) -> None:
        """Hand finished log lines to their writer."""

    def close_log(self) -> None:
        """Write out what waits, for at most 2 s, and end the writer."""

    def counts(self) -> dict[str, int]:
        """What is alive: `downstreams`, `upstreams`, `idle_upstreams`, `exchanges`."""

class Connection:
    """A protocol object: of a caller's connection, or of a target's under the `token` of a dial."""

    def __new__(cls, driver: Driver, token: int | None = None) -> Connection: ...
    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def get_buffer(self, _size_hint: int) -> ReceiveBuffer: ...
    def buffer_updated(self, len_bytes: int) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, _error: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

@final
class ReceiveBuffer(Buffer):
    """The memory that a driver's transports receive into."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Metrics:
    """Counters, gauges and histograms of all workers, in shared or private memory."""

    @staticmethod
    def private(workers: int, proxies: int) -> Metrics:
        """Memory of this process alone."""

    @staticmethod
    def create(workers: int, proxies: int) -> Metrics:
        """Memory that other processes attach by `fd`. Raises `OSError` when there is none."""

    @staticmethod
    def attach(fd: int, workers: int, proxies: int) -> Metrics:
        """Memory that was created for the same numbers.

        Raises:
            OSError: When it cannot be mapped.
            ValueError: When it was created for other numbers or by another version.
        """

    @property
    def fd(self) -> int | None:
        """The descriptor to pass on; `None` for private or attached memory."""

    def release_slot(self, slot: int) -> None:
        """Give back the permits of a worker that is gone, and clear its gauges."""

    def families(
        self, proxies: list[tuple[str, int, int]]
    ) -> list[tuple[str, str, str, tuple[str, ...], list[tuple[Any, ...]], tuple[float, ...]]]:
        """All metrics of the proxies `(name, block, max_concurrent)`, summed over the workers.

        Returns:
            `(name, kind, help, label_names, samples, bounds)` for each family, with samples
            `(label_values, value)`, or `(label_values, cumulative_counts, sum_seconds)` for a
            histogram with `bounds` in seconds.
        """
