"""The native extension. Private: users import `gatewayx`, not this."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from types import TracebackType
from typing import Any, Literal, Protocol, TypedDict, final, type_check_only

from typing_extensions import Buffer as SupportsBuffer
from typing_extensions import disjoint_base

__version__: str

# The driver and what it records: native/python/src/{driver,protocol,metrics,receive_buffer}.rs

@type_check_only
class DriverHost(Protocol):
    """What a loop does for a `Driver`. None of it is called once a request."""

    def dial(self, token: int, host: str, port: int) -> None: ...
    def cancel_dial(self, token: int) -> None: ...
    def arm(self, seconds: float) -> None: ...
    def arm_log_flush(self) -> None: ...
    def arm_memory_return(self) -> None: ...
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
        buffer_size: Of one pooled buffer, in bytes.
        buffers_per_read: How many of them, side by side, one read may fill.
        log_fd: Where access log lines are written; open until `close_log` has returned.
        spans_fd: Where finished spans are written, as JSON lines; open likewise.
        wake_fds: Event descriptors of all workers by slot, to wake one that waits for a permit.

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
        buffers_per_read: int = 4,
        log_fd: int | None = None,
        spans_fd: int | None = None,
        wake_fds: Sequence[int] = ...,
    ) -> Driver: ...
    def listener(self, address: str) -> int:
        """The number by which connections name the listener at an address of the configuration."""

    def configure(self, config: bytes) -> None:
        """Switch to another configuration; exchanges under way finish on the old one."""

    def set_faults(self, policies: bytes) -> None:
        """Switch to other fault policies, as `chaos.compile` writes them.

        Requests that are held by a policy that is gone go on at once.

        Raises:
            ValueError: When they cannot be compiled; nothing has changed then.
        """

    def handle_timer(self) -> None:
        """The time that `arm` asked for has come."""

    def handle_dial_failed(self, token: int, timed_out: bool) -> None:
        """A dial gave no connection."""

    def keep_addresses(self, host: str, port: int, addresses: list[str]) -> int:
        """Give up connections to a name that go to other addresses: idle ones now, busy ones after
        their exchange. How many are still open.
        """

    def handle_wake(self) -> None:
        """A permit may have come free that a request here waits for."""

    def drain(self) -> None:
        """Close idle connections now and busy ones after their exchange."""

    def shutdown(self) -> None:
        """Cut what is under way and close everything."""

    def return_memory(self) -> None:
        """Give memory that is free back to the system. Takes milliseconds."""

    def flush_log(self) -> None:
        """Hand finished log lines to their writer."""

    def close_log(self) -> None:
        """Write out what waits, for at most 2 s, and end the writer."""

    def counts(self) -> dict[str, int]:
        """What is alive: `downstreams`, `upstreams`, `idle_upstreams`, `exchanges`, `timers`, and
        `buffered_bytes` that were received and are kept."""

@disjoint_base
class Connection:
    """A protocol object: of a caller's connection, accepted at `Driver.listener`, or of a target's
    under the `token` of a dial."""

    def __new__(
        cls, driver: Driver, token: int | None = None, *, listener: int = 0
    ) -> Connection: ...
    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def get_buffer(self, _size_hint: int) -> ReceiveBuffer: ...
    def buffer_updated(self, len_bytes: int) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, _error: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

@final
class ReceiveBuffer(SupportsBuffer):
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

    def release_slot(self, slot: int) -> tuple[int, int, int, int]:
        """Give back the permits of a dead worker, clear its gauges, count what died with it.

        Returns:
            `(requests, connections, log_lines, permits)`.
        """

    def clear_block(self, block: int) -> None:
        """Forget what a block's former proxy counted."""

    def set_down(self, block: int, down: int) -> None:
        """Tell all workers which upstreams of a proxy are down: bit n for upstream n."""

    def force_breaker(self, block: int, state: Literal["open", "closed", "auto"]) -> None:
        """Keep a proxy's breaker open or closed in all workers, or have it decide again."""

    def forced_breaker(self, block: int) -> Literal["open", "closed", "auto"]:
        """What it is forced to; `auto` when it decides by itself."""

    def fault_families(
        self, policies: list[tuple[str, list[int]]]
    ) -> list[tuple[str, str, str, tuple[str, ...], list[tuple[Any, ...]], tuple[float, ...]]]:
        """All metrics of injected faults, summed over the workers, in the form of `families`.

        Args:
            policies: `(name, blocks)`, with the block of each of its rules.
        """

    def fault_counts(self, blocks: list[int]) -> tuple[int, int, dict[str, int]]:
        """What has happened because of some rules: `(matched, active, {kind: injected})`."""

    def restart_sequence(self, block: int) -> None:
        """Number the requests that a rule matches from 0 again."""

    def exposition(
        self, proxies: list[tuple[str, int, int, int, int, int]], openmetrics: bool
    ) -> bytes:
        """`families` as exposition text: OpenMetrics without its end mark, or Prometheus' own."""

    def families(
        self, proxies: list[tuple[str, int, int, int, int, int]]
    ) -> list[tuple[str, str, str, tuple[str, ...], list[tuple[Any, ...]], tuple[float, ...]]]:
        """All metrics of the proxies, summed over the workers.

        Args:
            proxies: `(name, block, max_concurrent, adaptive_min, recovery_timeout_ms,
                recovery_jitter_percent)`; the last two are 0 without a circuit breaker, and
                `adaptive_min` is 0 when the limit is fixed.


        Returns:
            `(name, kind, help, label_names, samples, bounds)` for each family, with samples
            `(label_values, value)`, or `(label_values, cumulative_counts, sum_seconds)` for a
            histogram with `bounds` in seconds (milliseconds, if its name says so).
        """

# The primitives: native/python/src/faces/. Any thread may use them; see gatewayx.primitives.

@type_check_only
class BufferPoolStats(TypedDict):
    """What a pool has done so far."""

    in_use: int
    """Buffers handed out and not yet back, pooled or not."""
    free: int
    """Buffers that wait to be handed out."""
    hits: int
    """Buffers handed out that had been used before."""
    exhausted_total: int
    """Buffers allocated plainly because all were out."""

@final
class BufferPool:
    """A pool of equal buffers; the one used last is handed out first.

    When all are out, a buffer is allocated plainly, which is counted; the first time, a
    `RuntimeWarning` says so.

    Args:
        buffer_size: Bytes of each buffer.
        max_buffers: Buffers that the pool owns at most; it makes them when first needed and keeps
            them, so `buffer_size * max_buffers` bounds its memory.

    Raises:
        ValueError: When `buffer_size` is 0.
    """

    def __new__(cls, buffer_size: int = 32768, max_buffers: int = 1024) -> BufferPool: ...
    def acquire(self) -> Buffer:
        """Hand out a buffer. Its content is whatever was left in it: read only what you wrote."""

    def release(self, buffer: Buffer) -> None:
        """Take a buffer back.

        Raises:
            ValueError: When it has been released, or belongs to another pool.
            BufferError: When a `memoryview` of it is open.
        """

    def stats(self) -> BufferPoolStats:
        """The counters."""

    @property
    def buffer_size(self) -> int:
        """Bytes of each buffer."""

    @property
    def max_buffers(self) -> int:
        """Buffers that the pool owns at most."""

@final
class Buffer(SupportsBuffer):
    """Writable memory on loan, with the buffer protocol.

    Goes back to its pool by `release`, at the end of a `with` block, or when the object dies.
    """

    def release(self) -> None:
        """Give the memory back. Raises as `BufferPool.release` does."""

    @property
    def released(self) -> bool:
        """Whether the memory has gone back."""

    def __enter__(self) -> Buffer: ...
    def __exit__(self, *_exc: object) -> None: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class ConcurrencyLimiter:
    """Limits how many hold a permit at once.

    Threads and coroutines wait in one queue, first come, first served: a permit given back goes
    straight to whoever has waited longest. `async with limiter:` holds one for the block.

    Args:
        max_concurrent: Permits; 0 or less is no limit, and permits are still counted.
    """

    def __new__(cls, max_concurrent: int) -> ConcurrencyLimiter: ...
    def acquire(self) -> bool:
        """Take a permit if one is free."""

    def acquire_with_timeout(self, seconds: float | None) -> bool:
        """Wait for a permit, blocking this thread; `None` waits for ever.

        Not for the thread of an event loop, which could not release anything meanwhile.
        """

    def acquire_blocking(self) -> Acquisition:
        """Wait for a permit in a coroutine: `await limiter.acquire_blocking()`.

        A wait that is cancelled leaves no trace: neither a place in the queue nor a permit.
        """

    def release(self) -> None:
        """Give a permit back. Raises `RuntimeError` when none is in use."""

    def available(self) -> int | None:
        """Permits that are free; `None` without a limit."""

    def in_use(self) -> int:
        """Permits in use."""

    def waiting(self) -> int:
        """Threads and coroutines that wait."""

    def __aenter__(self) -> Acquisition: ...
    def __aexit__(self, *_exc: object) -> Finished: ...

@final
class Acquisition(Coroutine[Any, None, Literal[True]]):
    """The coroutine of `ConcurrencyLimiter.acquire_blocking`."""

    @property
    def __qualname__(self) -> str: ...
    def __await__(self) -> Generator[Any, None, Literal[True]]: ...
    def __next__(self) -> Any: ...
    def send(self, _value: None) -> Any: ...
    def throw(  # type: ignore[override]
        self,
        exception: BaseException | type[BaseException],
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Any: ...
    def close(self) -> None: ...

@final
class Finished(Awaitable[None]):
    """An awaitable that has nothing to wait for."""

    def __await__(self) -> Generator[Any]: ...
    def __next__(self) -> None: ...

@final
class CircuitBreaker:
    """Refuses after failures in a row, and lets probes decide when to stop refusing.

    Every `record_*` takes the ticket that `allow` gave. A ticket of an earlier state makes the
    result late, and it is dropped; without a ticket a result counts as one of the present state.

    Args:
        failure_threshold: Failures in a row that open it.
        recovery_timeout: Seconds that it stays open.
        half_open_requests: Probes that it then lets through; it closes when all succeed.
        clock: Seconds of a monotonic clock; `time.monotonic` when absent.

    Raises:
        ValueError: When a count is 0, or a time is no time.
    """

    def __new__(
        cls,
        failure_threshold: int = 5,
        recovery_timeout: float = 30.0,
        half_open_requests: int = 1,
        *,
        clock: Callable[[], float] | None = None,
    ) -> CircuitBreaker: ...
    def allow(self) -> int:
        """A ticket, which is never 0, when a request may pass; 0 when it is refused."""

    def record_success(self, ticket: int | None = None) -> None:
        """The request succeeded."""

    def record_failure(self, ticket: int | None = None) -> None:
        """The request failed."""

    def record_cancelled(self, ticket: int | None = None) -> None:
        """The request ended without saying anything; a probe's place is free again."""

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """The state now; an open breaker is half-open as soon as its timeout has gone by."""

    def reset(self) -> None:
        """Close it; results of what passed before are late."""

@final
class SharedRegion:
    """Cells of 64 bits in an anonymous file, which several processes count in."""

    @staticmethod
    def create(cells: int) -> SharedRegion:
        """A new region of `cells` zeroes.

        Raises:
            ValueError: When `cells` is 0.
            OSError: When there is no memory for it.
        """

    @staticmethod
    def attach(fd: int) -> SharedRegion:
        """The region behind the `fd` of another process or object; `fd` stays the caller's.

        Raises:
            ValueError: When it is not the descriptor of a region.
            OSError: When it is not open, or cannot be mapped.
        """

    @property
    def fd(self) -> int:
        """The descriptor to hand to another process; open as long as this object."""

    @property
    def cells(self) -> int:
        """How many cells there are."""

@final
class Counter:
    """A number that only grows; any number of threads and processes add to it.

    Args:
        region: Where it lies, to be shared; memory of its own when absent.
        cell: Its cell in the region.

    Raises:
        ValueError: When the region ends before it.
    """

    def __new__(cls, *, region: SharedRegion | None = None, cell: int = 0) -> Counter: ...
    def inc(self, n: int = 1) -> None:
        """Add `n`, from 0 up. Raises `OverflowError` when it is negative."""

    @property
    def value(self) -> int:
        """The number."""

@final
class HistogramSnapshot:
    """What a histogram held at one moment."""

    @property
    def buckets(self) -> tuple[tuple[float, int], ...]:
        """`(upper bound in seconds, observations up to it)`; the last bound is infinite."""

    @property
    def sum(self) -> float:
        """Seconds observed in all."""

    @property
    def count(self) -> int:
        """Observations in all."""

@final
class Histogram:
    """Durations counted by upper bound; any number of threads and processes add to it.

    Args:
        bounds: Ascending upper bounds in seconds, at most 256; when absent, 0.01 to 10 s as in the
            gateway's latency metrics.
        region: Where it lies, to be shared; memory of its own when absent.
        cell: The first of its `cells` cells in the region.

    Raises:
        ValueError: When the bounds do not ascend, or the region ends before the histogram.
    """

    def __new__(
        cls,
        bounds: Sequence[float] | None = None,
        *,
        region: SharedRegion | None = None,
        cell: int = 0,
    ) -> Histogram: ...
    def observe(self, seconds: float) -> None:
        """Count a duration. Raises `ValueError` when it is negative, infinite or not a number."""

    def snapshot(self) -> HistogramSnapshot:
        """What it holds; exact once its writers pause, each cell exact by itself until then."""

    @property
    def bounds(self) -> tuple[float, ...]:
        """Upper bounds in seconds."""

    @property
    def cells(self) -> int:
        """Cells that it takes in a region: one for each bound, and two more."""

def check_access_rule(rule: str) -> tuple[int, str] | None:
    """What is wrong with an access rule: the byte at which it begins, and words for it."""

def is_public_rule(rule: str) -> bool:
    """Whether the rule lets everyone in."""

def check_verifying_key(key: bytes) -> str | None:
    """Why a key, as JSON in the engine's form, is of no use; `None` when it can be used.

    Raises:
        ValueError: When the JSON has another form.
    """

def explain_access_rule(
    rule: str, subjects: list[tuple[str, str]]
) -> tuple[bool, list[tuple[str, bool]]]:
    """Hold a made-up request against a rule.

    Args:
        rule: An access rule.
        subjects: Names as in a rule, without `@request.`, and their values: `("method", "GET")`,
            `("auth.id", "u1")`. More values of one name are a list.

    Returns:
        Whether an ordinary caller passes, and every comparison that was made with its outcome.

    Raises:
        ValueError: When the rule cannot be read.
    """

def parse_request(
    data: bytes,
) -> tuple[bytes, bytes, int, list[tuple[bytes, bytes]], int] | None:
    """Read the request head at the start of `data`, by the gateway's strict rules.

    Returns:
        `(method, target, minor_version, fields, length)` with names and values as they were sent
        and the length of the head in bytes; `None` while the head is not whole.

    Raises:
        ValueError: When the bytes break a rule; the text names it.
    """
