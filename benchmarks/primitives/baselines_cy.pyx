# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The same in Cython, as its users write it: C fields, and the interpreter's lock for a lock.

None of these is safe without a global interpreter lock, nor shared between processes.
"""

from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

import warnings

cdef double[9] LATENCY_BOUNDS
LATENCY_BOUNDS[:] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]


cdef inline double monotonic() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef class ConcurrencyLimiter:
    cdef long max_concurrent, in_use

    def __init__(self, long max_concurrent):
        self.max_concurrent = max_concurrent

    def acquire(self):
        if self.in_use >= self.max_concurrent:
            return False
        self.in_use += 1
        return True

    def release(self):
        if self.in_use == 0:
            raise RuntimeError("release without acquire")
        self.in_use -= 1

    def available(self):
        return self.max_concurrent - self.in_use


cdef enum State:
    CLOSED, OPEN, HALF_OPEN


cdef class CircuitBreaker:
    cdef long threshold, probes_max, failures, admitted, succeeded
    cdef double recovery, since
    cdef uint64_t generation
    cdef State phase

    def __init__(self, failure_threshold=5, recovery_timeout=30.0, half_open_requests=1):
        self.threshold = failure_threshold
        self.recovery = recovery_timeout
        self.probes_max = half_open_requests
        self.generation = 0
        self.enter(CLOSED)

    cdef void enter(self, State phase) noexcept:
        self.phase = phase
        self.failures = self.admitted = self.succeeded = 0
        self.since = monotonic()
        self.generation += 1

    @property
    def state(self):
        return ("closed", "open", "half_open")[<int>self.phase]

    def allow(self):
        if self.phase == OPEN and monotonic() - self.since >= self.recovery:
            self.enter(HALF_OPEN)
        if self.phase == OPEN:
            return 0
        if self.phase == HALF_OPEN:
            if self.admitted >= self.probes_max:
                return 0
            self.admitted += 1
        return self.generation

    def record_success(self, uint64_t ticket):
        if ticket != self.generation:
            return
        if self.phase == CLOSED:
            self.failures = 0
        elif self.phase == HALF_OPEN:
            self.succeeded += 1
            if self.succeeded >= self.probes_max:
                self.enter(CLOSED)

    def record_failure(self, uint64_t ticket):
        if ticket != self.generation:
            return
        self.failures += 1
        if self.phase == HALF_OPEN or self.failures >= self.threshold:
            self.enter(OPEN)


cdef class BufferPool:
    cdef list free
    cdef set pooled
    cdef Py_ssize_t size, max_buffers
    cdef long in_use, hits, exhausted

    def __init__(self, buffer_size=32768, max_buffers=1024):
        self.free = []
        self.pooled = set()
        self.size = buffer_size
        self.max_buffers = max_buffers

    def acquire(self):
        self.in_use += 1
        if self.free:
            self.hits += 1
            return self.free.pop()
        buffer = bytearray(self.size)
        if len(self.pooled) < self.max_buffers:
            self.pooled.add(id(buffer))
            return buffer
        self.exhausted += 1
        if self.exhausted == 1:
            warnings.warn("the buffer pool is exhausted", RuntimeWarning, stacklevel=2)
        return buffer

    def release(self, buffer):
        self.in_use -= 1
        if id(buffer) in self.pooled:
            self.free.append(buffer)

    def stats(self):
        return {
            "in_use": self.in_use,
            "free": len(self.free),
            "hits": self.hits,
            "exhausted_total": self.exhausted,
        }


cdef class Histogram:
    cdef uint64_t[10] buckets
    cdef double sum

    def __cinit__(self):
        for index in range(10):
            self.buckets[index] = 0

    def observe(self, double seconds):
        cdef int index = 0
        while index < 9 and LATENCY_BOUNDS[index] < seconds:
            index += 1
        self.buckets[index] += 1
        self.sum += seconds

    @property
    def count(self):
        return sum([self.buckets[index] for index in range(10)])


cdef class Counter:
    cdef uint64_t total

    def inc(self, uint64_t n=1):
        self.total += n

    @property
    def value(self):
        return self.total


cdef inline bint is_token(unsigned char c):
    return (
        c'a' <= c <= c'z' or c'A' <= c <= c'Z' or c'0' <= c <= c'9' or c == c'-'
        or c == c'_' or c == c'.' or c == c'!' or c == c'#' or c == c'$' or c == c'%'
        or c == c'&' or c == 39 or c == c'*' or c == c'+' or c == c'^' or c == c'`'
        or c == c'|' or c == c'~'
    )


def parse_request(bytes data):
    """A request head by the grammar alone, byte by byte."""
    cdef const unsigned char* at = data
    cdef Py_ssize_t size = len(data)
    cdef Py_ssize_t i = 0, start, name_end, value_end
    while i < size and is_token(at[i]):
        i += 1
    if i >= size:
        return None
    if i == 0 or at[i] != c' ':
        raise ValueError("bad request line")
    method = data[:i]
    i += 1
    start = i
    while i < size and 33 <= at[i] <= 126:
        i += 1
    if i + 10 >= size:
        return None
    if i == start or data[i:i + 8] != b" HTTP/1." or at[i + 8] not in (48, 49):
        raise ValueError("bad request line")
    target = data[start:i]
    minor = at[i + 8] - 48
    i += 9
    if at[i] != 13 or at[i + 1] != 10:
        raise ValueError("bad request line")
    i += 2
    fields = []
    while True:
        if i + 1 >= size:
            return None
        if at[i] == 13 and at[i + 1] == 10:
            return method, target, minor, fields, i + 2
        start = i
        while i < size and is_token(at[i]):
            i += 1
        if i >= size:
            return None
        name_end = i
        if i == start or at[i] != c':':
            raise ValueError("bad field line")
        i += 1
        while i < size and (at[i] == 32 or at[i] == 9):
            i += 1
        value_start = i
        while i < size and (at[i] >= 32 and at[i] != 127 or at[i] == 9):
            i += 1
        if i + 1 >= size:
            return None
        if at[i] != 13 or at[i + 1] != 10:
            raise ValueError("bad field line")
        value_end = i
        while value_end > value_start and (at[value_end - 1] == 32 or at[value_end - 1] == 9):
            value_end -= 1
        fields.append((data[start:name_end], data[value_start:value_end]))
        i += 2
