"""Pooled buffers: memory is reused, bounded, and never reachable after it went back."""

import ctypes
import gc
import threading
import warnings

import pytest

from gatewayx.primitives import Buffer, BufferPool


def address(buffer: Buffer) -> int:
    """Where its memory lies."""
    numpy = pytest.importorskip("numpy")
    pointer: int = numpy.frombuffer(buffer, dtype="u1").ctypes.data
    return pointer


def test_a_buffer_is_writable_memory_of_the_configured_size() -> None:
    pool = BufferPool()
    assert (pool.buffer_size, pool.max_buffers) == (32768, 1024)
    with pool.acquire() as buffer, memoryview(buffer) as view:
        assert len(buffer) == view.nbytes == 32768
        assert not view.readonly
        assert bytes(view) == bytes(32768)
        view[1:4] = b"abc"
        assert bytes(view[:5]) == b"\0abc\0"


def test_the_buffer_used_last_is_handed_out_first() -> None:
    pool = BufferPool(64, 4)
    buffers = [pool.acquire() for _ in range(3)]
    addresses = [address(buffer) for buffer in buffers]
    for buffer in buffers:
        pool.release(buffer)
    assert pool.stats() == {"in_use": 0, "free": 3, "hits": 0, "exhausted_total": 0}
    again = [pool.acquire() for _ in range(3)]
    assert [address(buffer) for buffer in again] == addresses[::-1]
    assert pool.stats() == {"in_use": 3, "free": 0, "hits": 3, "exhausted_total": 0}


def test_an_exhausted_pool_allocates_plainly_counts_and_warns_once() -> None:
    pool = BufferPool(64, 1)
    first = pool.acquire()
    with pytest.warns(RuntimeWarning, match="max_buffers") as warned:
        plain = [pool.acquire() for _ in range(3)]
    assert [warning.filename for warning in warned] == [__file__]
    assert pool.stats() == {"in_use": 4, "free": 0, "hits": 0, "exhausted_total": 3}
    assert all(len(buffer) == 64 for buffer in plain)
    for buffer in [first, *plain]:
        pool.release(buffer)
    assert pool.stats() == {"in_use": 0, "free": 1, "hits": 0, "exhausted_total": 3}


def test_a_warning_made_an_error_loses_no_buffer() -> None:
    pool = BufferPool(64, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            pool.acquire()
    assert pool.stats() == {"in_use": 0, "free": 0, "hits": 0, "exhausted_total": 1}
    assert len(pool.acquire()) == 64


def test_memory_in_view_does_not_go_back() -> None:
    pool = BufferPool(64, 1)
    buffer = pool.acquire()
    view = memoryview(buffer)
    with pytest.raises(BufferError, match="memoryview"):
        pool.release(buffer)
    with pytest.raises(BufferError), buffer:
        pass
    assert not buffer.released
    assert pool.stats()["in_use"] == 1
    view.release()
    pool.release(buffer)
    assert pool.stats()["free"] == 1


def test_a_released_buffer_is_out_of_reach() -> None:
    pool = BufferPool(64, 1)
    with pool.acquire() as buffer:
        buffer.release()
    assert buffer.released
    assert len(buffer) == 0
    for touch in (memoryview, Buffer.release, pool.release, Buffer.__enter__):
        with pytest.raises(ValueError, match="has been released"):
            touch(buffer)  # type: ignore[operator]
    assert pool.stats()["free"] == 1


def test_a_view_that_fails_does_not_keep_the_memory_in_view() -> None:
    """C code asks for the memory without a place to describe it."""
    get_buffer = ctypes.pythonapi.PyObject_GetBuffer
    get_buffer.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
    pool = BufferPool(64, 1)
    buffer = pool.acquire()
    with pytest.raises(BufferError, match="view==NULL"):
        get_buffer(buffer, None, 0)
    pool.release(buffer)


def test_a_buffer_goes_back_to_its_own_pool_only() -> None:
    pool, other = BufferPool(64, 1), BufferPool(64, 1)
    buffer = pool.acquire()
    with pytest.raises(ValueError, match="another pool"):
        other.release(buffer)
    pool.release(buffer)
    assert (pool.stats()["free"], other.stats()["free"]) == (1, 0)


def test_a_forgotten_buffer_goes_back_with_its_last_view() -> None:
    pool = BufferPool(64, 1)
    view = memoryview(pool.acquire())
    gc.collect()
    assert pool.stats()["in_use"] == 1
    view[0] = 1
    del view
    gc.collect()
    assert pool.stats() == {"in_use": 0, "free": 1, "hits": 0, "exhausted_total": 0}


def test_a_buffer_outlives_its_pool() -> None:
    buffer = BufferPool(64, 1).acquire()
    gc.collect()
    assert len(memoryview(buffer)) == 64


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="buffer_size"):
        BufferPool(0)
    with pytest.raises(OverflowError):
        BufferPool(64, -1)


def test_threads_never_share_a_buffer() -> None:
    pool = BufferPool(64, 4)
    rounds, torn = 300, []

    def work(mark: int) -> None:
        for _ in range(rounds):
            with pool.acquire() as buffer, memoryview(buffer) as view:
                view[:] = bytes([mark]) * 64
                if bytes(view) != bytes([mark]) * 64:
                    torn.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
    stats = pool.stats()
    assert (stats["in_use"], stats["exhausted_total"]) == (0, 0)
    assert 1 <= stats["free"] <= 4
    assert stats["hits"] + stats["free"] == 4 * rounds
