"""The supervisor: sockets, shared memory, workers and the admin API. It carries no traffic.

It binds every socket before anything starts, so that a bad address is one clear message, and keeps
them open, so that no queued connection is lost with a worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gatewayx import _native
from gatewayx.admin import (
    AdminServer,
    BreakerOrder,
    NoBreakerError,
    ReloadError,
    SuperuserToken,
    WorkerStatus,
    create_app,
)
from gatewayx.admin.exposition import write
from gatewayx.chaos import PolicyBook
from gatewayx.config import ConfigError, GatewayConfig, compile_engine
from gatewayx.server.blocks import Blocks, series
from gatewayx.server.breakers import breaker_block
from gatewayx.server.control import Orders
from gatewayx.server.health import HealthChecks, with_checks
from gatewayx.server.key_sets import KeySets
from gatewayx.server.reload import Changes, changes
from gatewayx.server.slot import KILL_SECONDS, Worker, passes
from gatewayx.server.sockets import ListenError, bind, bind_unix, new_event_loop, url
from gatewayx.server.spans import open_spans
from gatewayx.server.stored import add_credentials, open_control
from gatewayx.server.systemd import Inherited, Notifier
from gatewayx.server.ticket_keys import ROTATE_SECONDS, TicketKeys

if TYPE_CHECKING:
    from gatewayx.admin.control import ControlPlane
    from gatewayx.slo.embedded import ServiceLevels
    from gatewayx.tracing import SpanExport

log = logging.getLogger("gatewayx")

BLOCKS_COUNT = 1024
"""Proxies that the shared memory has room for; pages that no proxy uses take no memory."""

RULES_COUNT = 512
"""Rules of fault policies that it has room for, behind the proxies."""

Say = Callable[[str], None]
Load = Callable[[], GatewayConfig]


class Supervisor:
    """Everything that `gatewayx serve` runs, between `start` and `stop`. Is the `AdminState`."""

    def __init__(
        self,
        config: GatewayConfig,
        token: SuperuserToken | None,
        load: Load | None = None,
        control: ControlPlane | None = None,
    ) -> None:
        self._load = load
        self._control = control
        config = config if control is None else control.combined.config
        self.stop_asked = asyncio.Event()
        self._config = config
        self._token = token
        self._rate_limit_seed = secrets.randbits(64)
        self._key_sets = KeySets(self._renew_keys)
        self._compiled = self._compile(config)
        self._listening: dict[str, socket.socket] = {}
        self._reloading = asyncio.Lock()
        self._wake_fds: list[int] = []
        self._log_fd: int | None = None
        self._workers: list[Worker] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._admin: AdminServer | None = None
        self._levels: ServiceLevels | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._spans: SpanExport | None = None
        self._ticket_keys = TicketKeys()
        self._rotation: asyncio.Task[None] | None = None
        self._stopping = False
        self._cut = asyncio.Event()
        self._notifier = Notifier(os.environ)
        self._inherited = Inherited(os.environ)
        self._metrics = _native.Metrics.create(self._workers_count(), BLOCKS_COUNT + RULES_COUNT)
        self._blocks = Blocks(BLOCKS_COUNT)
        self._blocks.assign(self._compiled, self._metrics)
        self._health = HealthChecks(self._metrics)
        rule_blocks = range(BLOCKS_COUNT + 1, BLOCKS_COUNT + RULES_COUNT + 1)
        self.policies = PolicyBook(self._metrics, rule_blocks, self._publish_policies)

    @property
    def config(self) -> GatewayConfig:
        """The configuration in force."""
        return self._config

    def metrics(self) -> Iterable[tuple[Any, ...]]:
        """All families, summed over the workers."""
        return [*self._metrics.families(series(self._compiled)), *self._other_families()]

    def metrics_text(self, openmetrics: bool) -> bytes:
        """See `AdminState`."""
        text = self._metrics.exposition(series(self._compiled), openmetrics)
        return text + write(self._other_families(), openmetrics=openmetrics)

    def _other_families(self) -> Iterable[tuple[Any, ...]]:
        spans = [] if self._spans is None else self._spans.metrics()
        faults = self._metrics.fault_families(self.policies.series())
        return [*self._health.families(), *spans, *faults]

    def forced_breaker(self, proxy: str) -> BreakerOrder:
        """See `AdminState`."""
        return self._metrics.forced_breaker(self._breaker_block(proxy))

    def force_breaker(self, proxy: str, state: BreakerOrder) -> None:
        """See `AdminState`."""
        self._metrics.force_breaker(self._breaker_block(proxy), state)
        log.warning("proxy %s: circuit breaker set to %s by hand", proxy, state)

    def health(self, proxy: str) -> list[dict[str, Any]]:
        """See `AdminState`."""
        return self._health.upstreams(proxy)

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
            OSError: When the access log, or the database for service levels, cannot be opened.
        """
        admin_listening = self._bind_admin(self._config.admin.address)
        for listener in self._config.listeners:
            self._listening[listener.address] = self._bind(listener.address)
        self._inherited.refuse_rest()
        if self._config.access_log.enabled:
            self._log_fd = _open_log(self._config.access_log.path)
        app = create_app(self, self._token, self._control)
        if self._config.slo.enabled:
            # Imported only here: whoever keeps no service levels does not pay for their memory.
            from gatewayx.slo.embedded import ServiceLevels

            self._levels = await ServiceLevels.open(self.metrics, lambda: self._config)
            self._levels.serve_from(app)
        self._key_sets.follow(self._config)
        await self._key_sets.first()
        self._health.apply(self._config, self._compiled)
        if self._control is not None:
            await self.policies.keep_in(self._control.store.policies)
        slots = range(self._workers_count())
        self._spans = open_spans(self._config.tracing, len(slots))
        self._wake_fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in slots]
        self._workers = [Worker(self._orders(slot), self._bury) for slot in slots]
        self._tasks = [asyncio.create_task(worker.run()) for worker in self._workers]
        self._admin = AdminServer(app, admin_listening, self._config.admin.tls)
        await asyncio.gather(
            self._admin.start(), *(worker.ready.wait() for worker in self._workers)
        )
        for listener in self._config.listeners:
            say(f"listening on {url(self._listening[listener.address], listener.scheme)}")
        say(f"admin on {self._admin.url}")
        if self._control is not None:
            self._control.start(self.change_to)
        self._notifier.ready(self._summary())
        if self._notifier.watchdog_seconds:
            self._watchdog = asyncio.create_task(self._watch())
        self._rotation = asyncio.create_task(self._rotate_ticket_keys())

    async def reload(self) -> dict[str, Any]:
        """Read the file again and put it in force; see `AdminState`."""
        if self._load is None and self._control is None:
            raise ReloadError("the gateway was started without a file: there is nothing to reload")
        self._notifier.reloading()
        try:
            found = await self.change_to(await self._read_again())
        except (ListenError, ValueError) as error:
            raise ReloadError(str(error)) from None
        finally:
            self._notifier.ready(self._summary())
        log.info("reloaded: %s", found)
        return asdict(found)

    async def _read_again(self) -> GatewayConfig:
        if self._control is None:
            return self._config if self._load is None else self._load()
        return await self._control.reload(self._load() if self._load else self._control.base)

    def drain(self) -> None:
        """See `AdminState`."""
        self.stop_asked.set()

    async def change_to(self, config: GatewayConfig) -> Changes:
        """Put another configuration in force, in every worker, between two of its events.

        Proxies that stay keep their counters, limiter, breaker and open connections. `workers`,
        `admin`, `slo` and `access_log.path` need a restart and keep their values.

        Raises:
            ConfigError: When a value that only the environment has is missing.
            ListenError: When a new address cannot be bound.
            ValueError: When there are more proxies than the metrics have room for.
            Nothing has changed in any of these cases.
        """
        if self._control is not None and not self._control.away:
            # Another node may have changed them in the store.
            await self.policies.reload()
        async with self._reloading:
            compiled = self._compile(config)
            listens = [listener.address for listener in config.listeners]
            opened = _bind_all(address for address in listens if address not in self._listening)
            try:
                self._blocks.assign(compiled, self._metrics)
            except ValueError:
                for listening in opened.values():
                    listening.close()
                raise
            found = changes(
                with_checks(self._compiled, self._config),
                with_checks(compiled, config),
                list(self._listening),
                listens,
            )
            self._config, self._compiled = config, compiled
            self._key_sets.follow(config)
            self._health.apply(config, compiled)
            self._listening |= opened
            leaving = [self._listening.pop(address) for address in found.closed]
            await self._tell_workers()
            for listening in leaving:
                listening.close()
            return found

    async def _publish_policies(self) -> None:
        """Put the fault policies in force in every worker."""
        await asyncio.gather(
            *(worker.reload(self._orders(slot)) for slot, worker in enumerate(self._workers))
        )

    async def _renew_keys(self) -> None:
        """Put fetched keys in force, with whatever configuration is in force by then."""
        async with self._reloading:
            compiled = self._compile(self._config)
            self._blocks.assign(compiled, self._metrics)
            self._compiled = compiled
            await self._tell_workers()

    async def stop(self) -> None:
        """Say that it ends, drain every worker, then stop the admin API.

        `/ready` turns false first; callers are still accepted for `drain_delay`, so that whoever
        watches it can send them elsewhere.
        """
        self._stopping = True
        self.policies.close()
        drain_delay, drain_seconds = self._config.drain_delay, self._config.drain_timeout
        self._notifier.stopping(drain_delay + drain_seconds + 2 * KILL_SECONDS)
        await passes(self._cut, drain_delay)
        for listening in self._listening.values():
            listening.close()
        await asyncio.gather(*(worker.stop(drain_seconds) for worker in self._workers))
        await self._health.stop()
        await self._key_sets.close()
        await asyncio.gather(*self._tasks)
        if self._admin is not None:
            await self._admin.stop()
        if self._control is not None:
            await self._control.stop()
        if self._levels is not None:
            await self._levels.close()
        for task in (self._watchdog, self._rotation):
            if task is not None:
                task.cancel()
        if self._spans is not None:
            await self._spans.close()
        self._notifier.close()

    def kill(self) -> None:
        """End every worker at once."""
        self._cut.set()
        for worker in self._workers:
            worker.kill()

    def _compile(self, config: GatewayConfig) -> dict[str, Any]:
        texts = None if self._control is None else self._control.content.secrets
        key_sets = self._key_sets.found
        compiled = compile_engine(config, os.environ, secrets=texts, key_sets=key_sets)
        if self._control is not None:
            add_credentials(compiled["auth"], self._control)
        return compiled

    def _bind_admin(self, address: str) -> socket.socket:
        if address.startswith("unix:"):
            return bind_unix(address.removeprefix("unix:"))
        return self._bind(address)

    def _bind(self, address: str) -> socket.socket:
        return self._inherited.take(address) or bind(address)

    def _summary(self) -> str:
        serving = sum(worker.ready.is_set() for worker in self._workers)
        return f"{serving} of {len(self._workers)} workers serve {len(self._listening)} listeners"

    async def _watch(self) -> None:
        """Tell systemd's watchdog that this loop goes round."""
        while True:
            self._notifier.alive()
            await asyncio.sleep(self._notifier.watchdog_seconds)

    async def _rotate_ticket_keys(self) -> None:
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            async with self._reloading:
                self._ticket_keys.rotate()
                if any(listener["tls"] for listener in self._compiled["listeners"].values()):
                    await self._tell_workers()

    async def _tell_workers(self) -> None:
        await asyncio.gather(
            *(worker.reload(self._orders(slot)) for slot, worker in enumerate(self._workers))
        )

    def _breaker_block(self, proxy: str) -> int:
        block = breaker_block(self._compiled, proxy)
        if block is None:
            raise NoBreakerError(proxy)
        return block

    def _workers_count(self) -> int:
        wanted = self._config.workers
        return len(os.sched_getaffinity(0)) if wanted == "auto" else wanted

    def _orders(self, slot: int) -> Orders:
        metrics_fd = self._metrics.fd
        assert metrics_fd is not None
        return Orders(
            slot=slot,
            slots=len(self._wake_fds),
            blocks=BLOCKS_COUNT + RULES_COUNT,
            metrics_fd=metrics_fd,
            listener_fds={
                address: listening.fileno() for address, listening in self._listening.items()
            },
            wake_fds=self._wake_fds,
            log_fd=self._log_fd,
            spans_fd=None if self._spans is None else self._spans.write_fds[slot],
            buffer_size=self._config.buffers.size,
            buffers_per_read=self._config.buffers.per_read,
            drain_seconds=self._config.drain_timeout,
            dns=self._config.dns.model_dump(),
            config=self._share(),
            policies=self.policies.compiled(),
        )

    def _share(self) -> dict[str, Any]:
        """One worker's part: bounds that are meant for the whole gateway are divided, keys that all
        workers need are added."""
        pool = self._compiled["upstream_pool"]
        workers = len(self._wake_fds)
        return {
            **self._compiled,
            "rate_limit_seed": self._rate_limit_seed,
            "auth": {
                **self._compiled["auth"],
                "superuser_sha256": ("" if self._token is None else self._token.sha256()),
            },
            "upstream_pool": {key: -(-bound // workers) for key, bound in pool.items()},
            "listeners": self._ticket_keys.into(self._compiled["listeners"]),
        }

    def _bury(self, slot: int) -> None:
        """Set right what a dead worker left in shared memory, and let others use what it held."""
        requests, connections, log_lines, permits = self._metrics.release_slot(slot)
        if requests or connections or log_lines:
            log.error(
                "with worker %d died %d requests, %d connections and %d log lines; %d permits back",
                *(slot, requests, connections, log_lines, permits),
            )
        for fd in self._wake_fds:
            os.eventfd_write(fd, 1)


def serve(config: GatewayConfig, *, load: Load | None = None, say: Say = print) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. `load` reads the configuration again.

    Raises:
        ConfigError: When a value that only the environment has is missing.
        ListenError: When an address cannot be bound.
    """
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    token, control = open_control(config, os.environ)
    kept = control is not None and token is not None and token.made
    # A token that the store has made counts for as long as the store says, and not for this run.
    supervisor = Supervisor(config, None if kept else token, load, control)

    async def run() -> int:
        stopped = supervisor.stop_asked
        with _signals(supervisor, stopped):
            if kept and token is not None:
                # Said before anything can fail: the next start would not say it.
                say(f"admin token (kept, and not shown again): {token.text}")
            await supervisor.start(say)
            if not kept and token is not None and token.made:
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

    tasks: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = loop.create_task(_reload(supervisor))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGINT, stop)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _reload(supervisor: Supervisor) -> None:
    try:
        await supervisor.reload()
    except (ConfigError, ReloadError) as error:
        log.error("not reloaded, nothing has changed: %s", error)


def _bind_all(addresses: Iterable[str]) -> dict[str, socket.socket]:
    bound: dict[str, socket.socket] = {}
    try:
        for address in addresses:
            bound[address] = bind(address)
    except ListenError:
        for listening in bound.values():
            listening.close()
        raise
    return bound


def _open_log(path: str) -> int:
    if path == "-":
        return os.dup(sys.stdout.fileno())
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
