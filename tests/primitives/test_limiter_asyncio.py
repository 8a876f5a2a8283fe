"""The limiter with coroutines: cancellation at every moment loses neither place nor permit."""

import asyncio
import gc
import threading
import types
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest

from gatewayx.primitives import ConcurrencyLimiter
from tests.primitives.test_limiter import wait_for_waiters


async def settle() -> None:
    """Lets everything that is ready run, wake-ups of wake-ups included."""
    for _ in range(5):
        await asyncio.sleep(0)


async def queued(limiter: ConcurrencyLimiter, count: int) -> list[asyncio.Task[bool]]:
    """So many tasks, waiting in this order."""
    tasks: list[asyncio.Task[bool]] = [
        asyncio.create_task(limiter.acquire_blocking()) for _ in range(count)
    ]
    await settle()
    assert limiter.waiting() == count
    return tasks


@pytest.fixture
def full() -> ConcurrencyLimiter:
    """One permit, in use."""
    limiter = ConcurrencyLimiter(1)
    assert limiter.acquire()
    return limiter


async def test_a_free_permit_is_taken_without_suspending() -> None:
    limiter = ConcurrencyLimiter(1)
    acquisition = limiter.acquire_blocking()
    with pytest.raises(StopIteration) as stopped:
        acquisition.send(None)
    assert stopped.value.value is True
    assert limiter.in_use() == 1


async def test_waiters_are_served_in_their_order(full: ConcurrencyLimiter) -> None:
    served: list[int] = []

    async def work(number: int) -> None:
        assert await full.acquire_blocking() is True
        served.append(number)
        full.release()

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(work(number))
        await settle()
        assert full.waiting() == 5
        full.release()
        assert not full.acquire(), "nobody overtakes who waits"
    assert served == list(range(5))
    assert full.available() == 1


async def test_a_block_holds_a_permit(full: ConcurrencyLimiter) -> None:
    full.release()
    async with full as held:
        assert held is True
        assert full.in_use() == 1
    assert full.in_use() == 0
    with pytest.raises(LookupError):
        async with full:
            raise LookupError
    assert full.in_use() == 0
    with pytest.raises(RuntimeError, match="release without acquire"):
        async with full:
            full.release()


async def test_a_cancelled_wait_gives_up_its_place(full: ConcurrencyLimiter) -> None:
    first, second, third = await queued(full, 3)
    second.cancel()
    await settle()
    assert (second.cancelled(), full.waiting()) == (True, 2)
    full.release()
    await settle()
    assert (first.done(), third.done()) == (True, False)
    full.release()
    assert await third
    full.release()
    assert full.available() == 1


async def test_a_permit_granted_to_a_task_that_is_then_cancelled_is_passed_on(
    full: ConcurrencyLimiter,
) -> None:
    first, second = await queued(full, 2)
    full.release()
    first.cancel()
    assert await second
    assert first.cancelled()
    full.release()
    assert full.available() == 1


async def test_a_task_cancelled_before_the_release_is_passed_over(
    full: ConcurrencyLimiter,
) -> None:
    """It is still in the queue when the permit comes, since it has not run yet."""
    first, second = await queued(full, 2)
    first.cancel()
    full.release()
    assert full.waiting() == 0
    assert await second
    assert first.cancelled()
    full.release()
    assert full.available() == 1


async def test_all_tasks_cancelled_before_the_release(full: ConcurrencyLimiter) -> None:
    tasks = await queued(full, 3)
    for task in tasks:
        task.cancel()
    full.release()
    await settle()
    assert all(task.cancelled() for task in tasks)
    assert (full.available(), full.waiting()) == (1, 0)


async def test_a_timeout_around_a_wait(full: ConcurrencyLimiter) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await full.acquire_blocking()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(full.acquire_blocking(), 0.001)
    assert full.waiting() == 0
    full.release()
    assert await asyncio.wait_for(full.acquire_blocking(), 1)


async def test_it_is_a_coroutine_to_asyncio(full: ConcurrencyLimiter) -> None:
    acquisition = full.acquire_blocking()
    assert asyncio.iscoroutine(acquisition)
    assert isinstance(acquisition, Coroutine)
    task = asyncio.create_task(acquisition)
    await settle()
    assert "ConcurrencyLimiter.acquire_blocking" in repr(task)
    task.cancel()
    await settle()
    with pytest.raises(RuntimeError, match="twice"):
        acquisition.send(None)


async def test_what_is_never_awaited_holds_nothing(full: ConcurrencyLimiter) -> None:
    full.acquire_blocking().close()
    with pytest.raises(LookupError):
        full.acquire_blocking().throw(LookupError)
    full.acquire_blocking()
    assert (full.waiting(), full.in_use()) == (0, 1)


async def test_a_closed_wait_gives_up_its_place(full: ConcurrencyLimiter) -> None:
    acquisition = full.acquire_blocking()
    acquisition.send(None)
    assert full.waiting() == 1
    acquisition.close()
    acquisition.close()
    assert full.waiting() == 0


async def test_a_wait_closed_after_the_grant_passes_the_permit_on(
    full: ConcurrencyLimiter,
) -> None:
    acquisition = full.acquire_blocking()
    acquisition.send(None)
    (second,) = await queued_behind(full)
    full.release()
    acquisition.close()
    assert await second
    full.release()
    assert full.available() == 1


async def queued_behind(limiter: ConcurrencyLimiter) -> list[asyncio.Task[bool]]:
    task: asyncio.Task[bool] = asyncio.create_task(limiter.acquire_blocking())
    await settle()
    return [task]


async def test_a_forgotten_wait_gives_up_its_place(full: ConcurrencyLimiter) -> None:
    acquisition = full.acquire_blocking()
    acquisition.send(None)
    del acquisition
    gc.collect()
    assert full.waiting() == 0


async def test_a_wait_forgotten_after_the_grant_gives_the_permit_back(
    full: ConcurrencyLimiter,
) -> None:
    acquisition = full.acquire_blocking()
    acquisition.send(None)
    full.release()
    assert full.in_use() == 1
    try:
        raise LookupError
    except LookupError:
        del acquisition
    gc.collect()
    assert full.available() == 1


async def test_a_wait_that_dies_of_an_exception_leaves_it_as_it_is(
    full: ConcurrencyLimiter,
) -> None:
    """The object dies with the expression that holds it, while the exception is on its way."""

    def suspended() -> object:
        acquisition = full.acquire_blocking()
        acquisition.send(None)
        full.release()
        return acquisition

    with pytest.raises(ZeroDivisionError):
        print(suspended(), 1 / 0)
    assert full.available() == 1


def test_a_permit_that_comes_back_while_the_wait_begins_is_taken(
    full: ConcurrencyLimiter,
) -> None:
    """Between the first attempt and the queue, the loop runs code that may be the caller's."""

    class ReleasingLoop(asyncio.SelectorEventLoop):
        def create_future(self) -> asyncio.Future[Any]:
            if full.in_use():
                full.release()
            return super().create_future()

    async def acquire() -> bool:
        return await full.acquire_blocking()

    with asyncio.Runner(loop_factory=ReleasingLoop) as runner:
        assert runner.run(acquire())
    assert (full.in_use(), full.waiting()) == (1, 0)


@pytest.mark.parametrize(
    ("thrown", "caught"),
    [
        ((LookupError,), LookupError),
        ((LookupError("here"),), LookupError),
        ((LookupError, LookupError("here")), LookupError),
        ((LookupError, LookupError("here"), None), LookupError),
    ],
)
async def test_any_exception_may_end_a_wait(
    full: ConcurrencyLimiter, thrown: tuple[Any, ...], caught: type[Exception]
) -> None:
    acquisition = full.acquire_blocking()
    acquisition.send(None)
    with pytest.raises(caught):
        acquisition.throw(*thrown)
    assert full.waiting() == 0


async def test_a_thrown_exception_keeps_its_traceback(full: ConcurrencyLimiter) -> None:
    try:
        raise LookupError
    except LookupError as error:
        caught = error
    traceback = caught.__traceback__
    assert isinstance(traceback, types.TracebackType)
    with pytest.raises(LookupError) as raised:
        full.acquire_blocking().throw(LookupError, caught.with_traceback(None), traceback)
    lines = [entry.lineno + 1 for entry in raised.traceback]
    assert traceback.tb_lineno in lines


async def test_a_step_without_a_permit_does_not_take_one(full: ConcurrencyLimiter) -> None:
    """Somebody steps the coroutine who should not: asyncio's own future objects."""
    acquisition = full.acquire_blocking()
    acquisition.send(None)
    with pytest.raises(RuntimeError, match="await wasn't used"):
        acquisition.send(None)
    assert (full.waiting(), full.in_use()) == (0, 1)


async def test_a_future_resolved_by_somebody_else_is_no_permit(full: ConcurrencyLimiter) -> None:
    acquisition = full.acquire_blocking()
    future = acquisition.send(None)
    future.set_result(True)
    with pytest.raises(RuntimeError, match="somebody else"):
        acquisition.send(None)
    assert (full.waiting(), full.in_use()) == (0, 1)


def test_without_a_loop_there_is_nothing_to_wait_in(full: ConcurrencyLimiter) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        full.acquire_blocking().send(None)
    assert full.waiting() == 0


async def test_threads_wake_coroutines_and_are_woken_by_them(full: ConcurrencyLimiter) -> None:
    (task,) = await queued(full, 1)
    await asyncio.to_thread(full.release)
    assert await task
    thread = asyncio.create_task(asyncio.to_thread(full.acquire_with_timeout, 60))
    await asyncio.to_thread(wait_for_waiters, full, 1)
    full.release()
    assert await thread
    full.release()


async def test_a_release_from_a_thread_reaches_a_task_cancelled_meanwhile(
    full: ConcurrencyLimiter,
) -> None:
    """The loop learns of the grant after its task was cancelled, and passes the permit on."""
    first, second = await queued(full, 2)
    thread = threading.Thread(target=full.release)
    thread.start()
    thread.join()
    first.cancel()
    assert await second
    assert first.cancelled()
    full.release()
    assert full.available() == 1


def test_waiters_of_a_closed_loop_are_passed_over(full: ConcurrencyLimiter) -> None:
    for release in (full.release, lambda: in_a_thread(full)):
        loop = asyncio.new_event_loop()
        acquisition = full.acquire_blocking()

        async def wait_once(acquisition: Coroutine[Any, Any, bool] = acquisition) -> None:
            acquisition.send(None)

        loop.run_until_complete(wait_once())
        loop.close()
        assert full.waiting() == 1
        release()
        del acquisition, wait_once
        gc.collect()
        assert (full.waiting(), full.in_use()) == (0, 0)
        assert full.acquire()


def in_a_thread(limiter: ConcurrencyLimiter) -> None:
    thread = threading.Thread(target=limiter.release)
    thread.start()
    thread.join()


def test_a_cycle_of_waiter_and_limiter_is_collected() -> None:
    """Limiter, its queue, the future, a callback of the future that knows the limiter."""

    class Owner:
        def __init__(self) -> None:
            self.limiter = ConcurrencyLimiter(1)
            self.limiter.acquire()
            self.acquisition = self.limiter.acquire_blocking()

        async def wait_once(self) -> None:
            self.acquisition.send(None).add_done_callback(self.told)

        def told(self, _future: object) -> None:
            """Never called."""

    owner = Owner()
    with asyncio.Runner() as runner:
        runner.run(owner.wait_once())
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_two_loops_and_threads_share_one_limit() -> None:
    """Everybody at once, with waits cut short at all moments."""
    limiter = ConcurrencyLimiter(2)
    books = threading.Lock()
    inside = most = finished = 0

    def enter() -> None:
        nonlocal inside, most
        with books:
            inside += 1
            most = max(most, inside)

    def leave() -> None:
        nonlocal inside, finished
        with books:
            inside -= 1
            finished += 1
        limiter.release()

    async def one(number: int) -> None:
        for turn in range(20):
            task: asyncio.Task[bool] = asyncio.create_task(limiter.acquire_blocking())
            for _ in range((number + turn) % 4):
                await asyncio.sleep(0)
            if turn % 2:
                task.cancel()
            done = await asyncio.gather(task, return_exceptions=True)
            if done == [True]:
                enter()
                await asyncio.sleep(0)
                leave()

    async def many() -> None:
        await asyncio.gather(*(one(number) for number in range(10)))

    def threads_work() -> None:
        for turn in range(100):
            if limiter.acquire_with_timeout([60, 0.0001][turn % 2]):
                enter()
                leave()

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(2)]
    threads += [threading.Thread(target=threads_work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 2
    assert finished >= 2 * 100 + 2 * 50
    assert (limiter.available(), limiter.waiting()) == (2, 0)


def test_a_grant_crosses_threads_without_polling(full: ConcurrencyLimiter) -> None:
    """The loop sleeps in its selector when the release comes; only a wake-up ends that sleep."""
    woken = threading.Event()

    async def wait() -> None:
        await full.acquire_blocking()
        woken.set()

    thread = threading.Thread(target=lambda: asyncio.run(wait()))
    thread.start()
    wait_for_waiters(full, 1)
    assert not woken.is_set()
    full.release()
    thread.join()
    assert woken.is_set()
