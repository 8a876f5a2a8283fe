"""The limiter and a loop under any order of arrivals, cancellations, releases and loop turns."""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gatewayx.primitives import ConcurrencyLimiter


class LimiterMachine(RuleBasedStateMachine):
    """Tasks acquire and then hold until the machine releases for one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.limiter = ConcurrencyLimiter(1)
        self.max_concurrent = 1
        self.tasks: list[asyncio.Task[bool]] = []
        self.released = 0

    @initialize(max_concurrent=st.integers(1, 3))
    def make(self, max_concurrent: int) -> None:
        self.limiter = ConcurrencyLimiter(max_concurrent)
        self.max_concurrent = max_concurrent

    def acquired(self) -> int:
        """Tasks that have had a permit as their result."""
        return sum(task.done() and not task.cancelled() for task in self.tasks)

    @rule()
    def arrive(self) -> None:
        self.tasks.append(self.loop.create_task(self.limiter.acquire_blocking()))

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.tasks)).cancel()

    @precondition(lambda self: self.acquired() > self.released)
    @rule()
    def release(self) -> None:
        self.limiter.release()
        self.released += 1

    @rule()
    def turn(self) -> None:
        """One turn of the loop: whatever is ready runs once."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    @invariant()
    def permits_are_exact(self) -> None:
        held = self.acquired() - self.released
        in_use = self.limiter.in_use()
        assert held <= in_use <= self.max_concurrent
        assert not self.limiter.waiting() or in_use == self.max_concurrent

    def teardown(self) -> None:
        for _ in range(3):
            self.turn()
        while self.acquired() > self.released:
            self.release()
            for _ in range(3):
                self.turn()
        assert all(task.done() for task in self.tasks), "a wake-up was lost"
        assert (self.limiter.in_use(), self.limiter.waiting()) == (0, 0)
        self.loop.close()


LimiterMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLimiterMachine = LimiterMachine.TestCase
