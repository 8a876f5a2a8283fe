"""The supervisor: sockets, shared memory, workers and the admin API. It carries no traffic.

It binds every socket before anything starts, so that a bad address is one clear message, and keeps
them open, so that no queued connection is lost with a worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gatewayx import _native
from gatewayx.admin import AdminServer, SuperuserToken, WorkerStatus, create_app, load_token
from gatewayx.config import GatewayConfig, compile_engine
from gatewayx.server.blocks import Blocks, series
from gatewayx.server.control import Channel, Orders
from gatewayx.server.sockets import bind, new_event_loop, url

log = logging.getLogger("gatewayx")

BLOCKS_COUNT = 1024
"""Proxies that the shared memory has room for; pages that no proxy uses take no memory."""

RESTART_SECONDS_MIN = 0.1
RESTART_SECONDS_MAX = 5.0
"""Wait before a dead worker is replaced; doubled with every death that follows within it."""

KILL_SECONDS = 5.0
"""What a worker gets on top of its drain time before it is ended."""

Say = Callable[[str], None]


class Worker:
    """One slot: the process that holds it now, and its replacements.

    Attributes:
        status: What the admin API shows.
    """

    def __init__(self, orders: Orders, spawn_fds: Sequence[int], metrics: _native.Metrics) -> None:
        self._orders = orders
        self._spawn_fds = spawn_fds
        self._metrics = metrics
        self._stopping = False
        self._channel: Channel | None = None
        self._process: asyncio.subprocess.Process | None = None
        self.ready = asyncio.Event()
        self.status = WorkerStatus(orders.slot, 0, "starting", 0)

    async def run(self) -> None:
        """Keep the slot occupied until `stop`."""
        wait_seconds = RESTART_SECONDS_MIN
        restarts = 0
        loop = asyncio.get_running_loop()
        while not self._stopping:
            started = loop.time()
            code = await self._run_once(restarts)
            self._metrics.release_slot(self._orders.slot)
            if self._stopping:
                return
            self.status = WorkerStatus(self._orders.slot, 0, "dead", restarts)
            log.error("worker %d ended with status %s; restarting", self._orders.slot, code)
            if loop.time() - started > RESTART_SECONDS_MAX:
                wait_seconds = RESTART_SECONDS_MIN
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, RESTART_SECONDS_MAX)
            restarts += 1

    async def _run_once(self, restarts: int) -> int:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gatewayx.server.worker",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno(), *self._spawn_fds],
                stdin=subprocess.DEVNULL,
                start_new_session=False,
            )
        slot, pid = self._orders.slot, self._process.pid
        self.status = WorkerStatus(slot, pid, "starting", restarts)
        self._channel = await Channel.open(ours)
        await self._channel.send(asdict(self._orders))
        if await self._channel.receive() is not None:
            self.status = WorkerStatus(slot, pid, "serving", restarts)
            self.ready.set()
        code = await self._process.wait()
        self.ready.clear()
        self._channel.close()
        return code

    async def stop(self, drain_seconds: float) -> None:
        """Tell the worker to drain, and end it if it does not."""
        self._stopping = True
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


class Supervisor:
    """Everything that `gatewayx serve` runs, between `start` and `stop`. Is the `AdminState`."""

    def __init__(self, config: GatewayConfig, token: SuperuserToken) -> None:
        self._config = config
        self._token = token
        self._compiled = compile_engine(config, os.environ)
        self._listening: list[socket.socket] = []
        self._log_fd: int | None = None
        self._workers: list[Worker] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._admin: AdminServer | None = None
        self._stopping = False
        self._metrics = _native.Metrics.create(self._workers_count(), BLOCKS_COUNT)
        self._blocks = Blocks(BLOCKS_COUNT)
        self._blocks.assign(self._compiled, self._metrics)

    @property
    def config(self) -> GatewayConfig:
        """The configuration in force."""
        return self._config

    def metrics(self) -> Iterable[tuple[Any, ...]]:
        """All families, summed over the workers."""
        return self._metrics.families(series(self._compiled))

    def ready(self) -> bool:
        """Whether a worker accepts callers."""
        return not self._stopping and any(worker.ready.is_set() for worker in self._workers)

    def workers(self) -> list[WorkerStatus]:
        """Every slot."""
        return [worker.status for worker in self._workers]

    async def start(self, say: Say) -> None:
        """Bind, spawn, and return once every worker serves.

        Raises:
            ListenError: When an address cannot be bound; nothing has been started then.
            OSError: When the access log cannot be opened.
        """
        admin_listening = bind(self._config.admin.address)
        self._listening = [bind(listener.address) for listener in self._config.listeners]
        if self._config.access_log.enabled:
            self._log_fd = _open_log(self._config.access_log.path)
        self._workers = [self._worker(slot) for slot in range(self._workers_count())]
        self._tasks = [asyncio.create_task(worker.run()) for worker in self._workers]
        self._admin = AdminServer(create_app(self, self._token), admin_listening)
        await asyncio.gather(
            self._admin.start(), *(worker.ready.wait() for worker in self._workers)
        )
        for listening in self._listening:
            say(f"listening on {url(listening)}")
        say(f"admin on {url(admin_listening)}")

    async def stop(self) -> None:
        """Drain every worker, then stop the admin API."""
        self._stopping = True
        for listening in self._listening:
            listening.close()
        drain_seconds = self._config.drain_timeout
        await asyncio.gather(*(worker.stop(drain_seconds) for worker in self._workers))
        await asyncio.gather(*self._tasks)
        if self._admin is not None:
            await self._admin.stop()

    def kill(self) -> None:
        """End every worker at once."""
        for worker in self._workers:
            with contextlib.suppress(ProcessLookupError):
                if worker.status.pid:
                    os.kill(worker.status.pid, signal.SIGKILL)

    def _workers_count(self) -> int:
        wanted = self._config.workers
        return len(os.sched_getaffinity(0)) if wanted == "auto" else wanted

    def _worker(self, slot: int) -> Worker:
        metrics_fd = self._metrics.fd
        assert metrics_fd is not None
        orders = Orders(
            slot=slot,
            slots=self._workers_count(),
            blocks=BLOCKS_COUNT,
            metrics_fd=metrics_fd,
            listener_fds=[listening.fileno() for listening in self._listening],
            log_fd=self._log_fd,
            buffer_size=self._config.buffers.size,
            drain_seconds=self._config.drain_timeout,
            config=self._compiled,
        )
        fds = [metrics_fd, *orders.listener_fds]
        if self._log_fd is not None:
            fds.append(self._log_fd)
        return Worker(orders, fds, self._metrics)


def serve(config: GatewayConfig, *, config_path: Path | None = None, say: Say = print) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    Raises:
        ConfigError: When a value that only the environment has is missing.
        ListenError: When an address cannot be bound.
    """
    token = load_token(config.admin, os.environ)
    supervisor = Supervisor(config, token)

    async def run() -> int:
        stopped = asyncio.Event()
        with _signals(supervisor, stopped):
            await supervisor.start(say)
            if token.made:
                say(f"admin token (made for this run): {token.text}")
            await stopped.wait()
            await supervisor.stop()
        return 0

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(run())


@contextlib.contextmanager
def _signals(supervisor: Supervisor, stopped: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopped.is_set():
            supervisor.kill()
        stopped.set()

    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGINT, stop)
    loop.add_signal_handler(
        signal.SIGHUP,
        log.warning,
        "this version cannot reload; restart to change the configuration",
    )
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _open_log(path: str) -> int:
    if path == "-":
        return os.dup(sys.stdout.fileno())
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
