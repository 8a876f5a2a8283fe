"""What a careful user would write in Python instead of each primitive, safe for threads."""

import re
import threading
import time
import warnings
from bisect import bisect_left

LATENCY_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ConcurrencyLimiter:
    """At most so many at once."""

    def __init__(self, max_concurrent: int) -> None:
        self._max = max_concurrent
        self._in_use = 0
        self._lock = threading.Lock()

    def acquire(self) -> bool:
        with self._lock:
            if self._in_use >= self._max:
                return False
            self._in_use += 1
            return True

    def release(self) -> None:
        with self._lock:
            if not self._in_use:
                raise RuntimeError("release without acquire")
            self._in_use -= 1

    def available(self) -> int:
        return self._max - self._in_use


class CircuitBreaker:
    """Opens after failures in a row; late results are told by their generation."""

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 30.0,
        half_open_requests: int = 1,
    ) -> None:
        self._threshold = failure_threshold
        self._recovery = recovery_timeout
        self._probes_max = half_open_requests
        self._lock = threading.Lock()
        self._enter("closed")
        self._generation = 1

    def _enter(self, state: str) -> None:
        self._state = state
        self._failures = self._admitted = self._succeeded = 0
        self._since = time.monotonic()
        self._generation = getattr(self, "_generation", 0) + 1

    @property
    def state(self) -> str:
        return self._state

    def allow(self) -> int:
        now = time.monotonic()
        with self._lock:
            if self._state == "open" and now - self._since >= self._recovery:
                self._enter("half_open")
            if self._state == "open":
                return 0
            if self._state == "half_open":
                if self._admitted >= self._probes_max:
                    return 0
                self._admitted += 1
            return self._generation

    def record_success(self, ticket: int) -> None:
        with self._lock:
            if ticket != self._generation:
                return
            if self._state == "closed":
                self._failures = 0
            elif self._state == "half_open":
                self._succeeded += 1
                if self._succeeded >= self._probes_max:
                    self._enter("closed")

    def record_failure(self, ticket: int) -> None:
        with self._lock:
            if ticket != self._generation:
                return
            self._failures += 1
            if self._state == "half_open" or self._failures >= self._threshold:
                self._enter("open")


class BufferPool:
    """A stack of byte arrays."""

    def __init__(self, buffer_size: int = 32768, max_buffers: int = 1024) -> None:
        self._size = buffer_size
        self._max = max_buffers
        self._free: list[bytearray] = []
        self._pooled: set[int] = set()
        self._in_use = self._hits = self._exhausted = 0
        self._lock = threading.Lock()

    def acquire(self) -> bytearray:
        with self._lock:
            self._in_use += 1
            if self._free:
                self._hits += 1
                return self._free.pop()
            buffer = bytearray(self._size)
            if len(self._pooled) < self._max:
                self._pooled.add(id(buffer))
                return buffer
            self._exhausted += 1
        if self._exhausted == 1:
            warnings.warn("the buffer pool is exhausted", RuntimeWarning, stacklevel=2)
        return buffer

    def release(self, buffer: bytearray) -> None:
        with self._lock:
            self._in_use -= 1
            if id(buffer) in self._pooled:
                self._free.append(buffer)

    def stats(self) -> dict[str, int]:
        return {
            "in_use": self._in_use,
            "free": len(self._free),
            "hits": self._hits,
            "exhausted_total": self._exhausted,
        }


class Histogram:
    """Buckets in a list."""

    def __init__(self) -> None:
        self._bounds = LATENCY_BOUNDS
        self._buckets = [0] * (len(LATENCY_BOUNDS) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, seconds: float) -> None:
        index = bisect_left(self._bounds, seconds)
        with self._lock:
            self._buckets[index] += 1
            self._sum += seconds

    @property
    def count(self) -> int:
        return sum(self._buckets)


class Counter:
    """A number behind a lock."""

    def __init__(self) -> None:
        self._value = 0
        self._lock = threading.Lock()

    def inc(self, n: int = 1) -> None:
        with self._lock:
            self._value += n

    @property
    def value(self) -> int:
        return self._value


_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])\Z")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")


def parse_request(data: bytes) -> tuple[bytes, bytes, int, list[tuple[bytes, bytes]], int] | None:
    """A request head by the grammar alone: none of the rules that span fields."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = data[:end].split(b"\r\n")
    match = _REQUEST_LINE.match(first)
    if match is None:
        raise ValueError("bad request line")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        if not colon or not _TOKEN.match(name) or not _VALUE.match(value):
            raise ValueError("bad field line")
        fields.append((name, value))
    return match[1], match[2], int(match[3]), fields, end + 4
