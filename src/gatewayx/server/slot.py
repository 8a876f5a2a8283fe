"""One place among the workers: the process that holds it, and what that process is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from gatewayx.admin import WorkerStatus
from gatewayx.server.control import Channel, Orders

log = logging.getLogger("gatewayx")

RESTART_SECONDS_MIN = 0.1
RESTART_SECONDS_MAX = 5.0
"""Wait before a dead worker is replaced; doubled with every death that follows within it."""

KILL_SECONDS = 5.0
"""What a worker gets on top of its drain time before it is ended."""


class Worker:
    """One slot: the process that holds it now, and its replacements.

    Attributes:
        orders: What the next process is told; a reload replaces it.
        ready: Set while the process serves.
        status: What the admin API shows.
    """

    def __init__(self, orders: Orders, on_death: Callable[[int], None]) -> None:
        self.orders = orders
        self._on_death = on_death
        self._stopping = asyncio.Event()
        self._channel: Channel | None = None
        self._descriptors: socket.socket | None = None
        self._known: Orders | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self.ready = asyncio.Event()
        self.status = WorkerStatus(orders.slot, 0, "starting", 0)

    async def run(self) -> None:
        """Keep the slot occupied until `stop`."""
        wait_seconds = RESTART_SECONDS_MIN
        restarts = 0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            started = loop.time()
            code = await self._run_once(restarts)
            self._on_death(self.orders.slot)
            self.status = WorkerStatus(self.orders.slot, 0, "dead", restarts)
            if self._stopping.is_set():
                return
            log.error("worker %d ended with status %s; restarting", self.orders.slot, code)
            if loop.time() - started > RESTART_SECONDS_MAX:
                wait_seconds = RESTART_SECONDS_MIN
            await passes(self._stopping, wait_seconds)
            wait_seconds = min(2 * wait_seconds, RESTART_SECONDS_MAX)
            restarts += 1

    async def _run_once(self, restarts: int) -> int:
        control, their_control = socket.socketpair()
        descriptors, their_descriptors = socket.socketpair()
        orders = self.orders
        fds = [orders.metrics_fd, *orders.listener_fds.values(), *orders.wake_fds]
        fds += [fd for fd in (orders.log_fd, orders.spans_fd) if fd is not None]
        with their_control, their_descriptors:
            theirs = [their_control.fileno(), their_descriptors.fileno()]
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gatewayx.server.worker",
                *map(str, theirs),
                pass_fds=[*theirs, *fds],
                stdin=subprocess.DEVNULL,
            )
        if self._stopping.is_set():
            self._process.kill()
        slot, pid = self.orders.slot, self._process.pid
        self.status = WorkerStatus(slot, pid, "starting", restarts)
        self._channel = await Channel.open(control)
        self._descriptors = descriptors
        await self._channel.send(asdict(orders))
        if await self._channel.receive() is not None:
            async with self._turn:
                # No change of policies comes between these and the first request.
                policies = self.orders.policies
                await self._channel.send({"order": "policies", "policies": policies})
                if await self._channel.receive() is not None:
                    self.status = WorkerStatus(slot, pid, "serving", restarts)
                    self._known = replace(orders, policies=policies)
                    self.ready.set()
            await self._catch_up()
        code = await self._process.wait()
        self.ready.clear()
        self._channel.close()
        descriptors.close()
        return code

    async def reload(self, orders: Orders) -> None:
        """Switch the process to other orders; one that is starting gets them when it is ready."""
        self.orders = orders
        await self._catch_up()

    async def _catch_up(self) -> None:
        """Tell the process what it does not know of the latest orders, one at a time."""
        async with self._turn:
            if self._known != self.orders:
                await self._tell(self.orders)

    async def _tell(self, orders: Orders) -> None:
        known, channel, descriptors = self._known, self._channel, self._descriptors
        if not self.ready.is_set() or channel is None or descriptors is None or known is None:
            return
        opened = [place for place in orders.listener_fds if place not in known.listener_fds]
        closed = [place for place in known.listener_fds if place not in orders.listener_fds]
        if opened:
            fds = [orders.listener_fds[place] for place in opened]
            socket.send_fds(descriptors, [b"f"], fds)
        order: dict[str, Any] = {"order": "policies", "policies": orders.policies}
        served = (orders.config, orders.dns)
        if served != (known.config, known.dns) or opened or closed:
            order |= {"order": "reload", "config": orders.config, "dns": orders.dns}
            order |= {"opened": opened, "closed": closed}
        await channel.send(order)
        await channel.receive()
        self._known = orders

    async def stop(self, drain_seconds: float) -> None:
        """Tell the worker to drain, and end it if it does not."""
        self._stopping.set()
        process, channel = self._process, self._channel
        if process is None or channel is None or process.returncode is not None:
            return
        status = self.status
        self.status = WorkerStatus(status.slot, status.pid, "draining", status.restarts)
        await channel.send({"order": "stop", "drain_seconds": drain_seconds})
        try:
            await asyncio.wait_for(process.wait(), drain_seconds + KILL_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    def kill(self) -> None:
        """End the process at once; it is not replaced."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


async def passes(event: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
