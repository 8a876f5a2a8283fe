"""The agent at work: the one place with a clock, a network and a process to end.

Two tasks share the journal. *Scraping* runs once an interval: text, pipeline, commit. *Sending*
empties the buffer, oldest first, one snapshot at a time. Neither waits for the other; whichever
fails waits with backoff and tries again, for ever. Nothing but a wrong configuration, a state
directory in use or a signal ends the agent.

Where a kill may strike, and what follows:

======================================  =====================================================
before the commit                       the next scrape measures from the older values
between commit and the master's answer  the snapshot is sent again under the same number
between answer and acknowledgement      the same; the master recognises the number
======================================  =====================================================
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
from prometheus_client import start_http_server
from pydantic import SecretStr, ValidationError

from gatewayx.slo.agent.backoff import Backoff
from gatewayx.slo.agent.collector import CollectorSource, ScrapeError, Source
from gatewayx.slo.agent.config import (
    AgentConfig,
    ConfigError,
    Routes,
    address_parts,
    load_config,
)
from gatewayx.slo.agent.journal import Journal, JournalError
from gatewayx.slo.agent.kubernetes import KubernetesRouteSource
from gatewayx.slo.agent.master import MasterSink, Sink, Verdict
from gatewayx.slo.agent.metrics import AgentMetrics
from gatewayx.slo.agent.pipeline import Interval, UnusableText, measure
from gatewayx.slo.agent.routes import FileRoutes, RouteSource, RouteTable
from gatewayx.slo.snapshot import SLOSnapshot

_log = logging.getLogger(__name__)

Clock = Callable[[], float]
"""Seconds since the epoch. Wall time, because gaps are measured across restarts."""


class Agent:
    """One agent: a source, a sink, a journal, and the two loops between them."""

    def __init__(
        self,
        config: AgentConfig,
        journal: Journal,
        source: Source,
        sink: Sink,
        route_sources: Sequence[RouteSource] = (),
        clock: Clock = time.time,
    ) -> None:
        self.metrics = AgentMetrics()
        self._config = config
        self._journal = journal
        self._source = source
        self._sink = sink
        self._routes = RouteTable(route_sources)
        self._routes_due = 0.0
        self._clock = clock
        self._last = journal.last_values()
        self._committed = asyncio.Event()
        self._jitter = random.Random()
        self._note_buffer()

    async def work(self) -> None:
        """Scrapes and sends until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._scrape_for_ever())
            tasks.create_task(self._send_for_ever())

    async def scrape_once(self) -> bool:
        """Makes one interval of the counters as they are now; False if there was no usable text."""
        await self._refresh_routes()
        at, started = self._clock(), time.monotonic()
        try:
            text = await self._source.scrape()
            interval = await asyncio.to_thread(
                measure,
                text,
                self._last,
                at,
                excluded_namespaces=self._config.exclude_namespaces,
                expiry_s=self._config.exporter_expiry,
            )
            self._commit(interval, at)
        except (ScrapeError, UnusableText) as error:
            self._note_failure(error.reason, str(error))
            return False
        except sqlite3.Error as error:
            self.metrics.journal_errors.inc()
            self._note_failure("journal", str(error))
            return False
        except Exception as error:
            # A bug, and still no reason to end: the last values are as they were.
            _log.exception("an interval could not be measured")
            self._note_failure("internal", str(error))
            return False
        self.metrics.scrapes.labels("ok").inc()
        self.metrics.scrape_duration.observe(time.monotonic() - started)
        self.metrics.collector_up.set(1)
        self.metrics.last_scrape.set(at)
        return True

    async def send_once(self) -> float | None:
        """Sends the oldest snapshot that waits.

        Returns:
            None if it left the buffer or nothing waited; else how long the master asks to wait,
            0 if it does not say.
        """
        waiting = self._journal.oldest()
        if waiting is None:
            return None
        answer = await self._sink.send(waiting.body)
        self.metrics.sends.labels(answer.verdict.value).inc()
        self.metrics.master_up.set(answer.verdict is not Verdict.UNAVAILABLE)
        if answer.verdict is Verdict.UNAVAILABLE:
            _log.warning("the master did not take snapshot %d: %s", waiting.seq, answer.details)
            return answer.retry_after_s or 0.0
        if answer.verdict is Verdict.REFUSED:
            _log.error("the master refuses snapshot %d for good: %s", waiting.seq, answer.details)
        self._journal.acknowledge(waiting.seq)
        self._note_buffer()
        return None

    async def send_all(self) -> bool:
        """Sends until nothing waits (True) or the master does not take it (False)."""
        while self._journal.buffered_count:
            if await self.send_once() is not None:
                return False
        return True

    async def _scrape_for_ever(self) -> None:
        backoff = self._backoff()
        due = time.monotonic()
        while True:
            if await self.scrape_once():
                backoff.succeed()
                # The beat is kept; beats that were missed are not made up for.
                due = max(due + self._config.interval, time.monotonic())
            else:
                due = time.monotonic() + backoff.fail()
            await asyncio.sleep(due - time.monotonic())

    async def _send_for_ever(self) -> None:
        backoff = self._backoff()
        while True:
            self._committed.clear()
            try:
                wait_s = await self.send_once()
            except Exception as error:
                self.metrics.journal_errors.inc(isinstance(error, sqlite3.Error))
                _log.exception("a snapshot could not be sent")
                wait_s = 0.0
            if wait_s is not None:
                wait_s = min(max(wait_s, backoff.fail()), self._config.backoff_max)
                await asyncio.sleep(wait_s)
                continue
            backoff.succeed()
            if not self._journal.buffered_count:
                await self._committed.wait()

    def _commit(self, interval: Interval, at: float) -> None:
        step = interval.advance
        body = self._snapshot(interval, at)
        dropped = self._journal.commit(step, body)
        self._last = step.last
        self._committed.set()
        self._note_buffer()
        metrics = self.metrics
        metrics.lines.inc(interval.sample_lines)
        metrics.bad_lines.inc(interval.bad_lines)
        for reason, count in interval.skipped.items():
            metrics.skipped.labels(reason).inc(count)
        metrics.series.set(len(step.last.series))
        metrics.baselines.inc(step.baseline)
        metrics.resets.inc(step.resets)
        metrics.evictions.inc(step.evictions)
        metrics.snapshots.inc()
        metrics.dropped.inc(dropped)
        if dropped:
            _log.warning("the buffer is full: dropped %d snapshots", dropped)

    def _snapshot(self, interval: Interval, at: float) -> bytes:
        start = at if interval.advance.baseline or self._last.at is None else self._last.at
        now = datetime.fromtimestamp(at, UTC)
        overflow = interval.overflow
        try:
            snapshot = self._build(interval, datetime.fromtimestamp(min(start, at), UTC), now)
        except ValidationError as error:
            overflow = str(error)
        if overflow is not None:
            self.metrics.overflows.inc()
            _log.error("an interval passed the limits of a snapshot and is left out: %s", overflow)
            snapshot = self._build(None, now, now)
        return snapshot.to_json()

    def _build(self, interval: Interval | None, start: datetime, now: datetime) -> SLOSnapshot:
        aggregates = interval.aggregates if interval else None
        return SLOSnapshot(
            cluster_id=self._config.cluster_id,
            agent_id=self._journal.agent_id,
            seq=self._journal.next_seq,
            timestamp=now,
            interval_start=start,
            interval_end=now,
            services=aggregates.services if aggregates else (),
            edges=aggregates.edges if aggregates else (),
            ingress=aggregates.ingress if aggregates else (),
            routes=self._routes.routes,
        )

    async def _refresh_routes(self) -> None:
        now = time.monotonic()
        if now < self._routes_due:
            return
        complete = await self._routes.refresh()
        self._routes_due = now + self._config.routes.refresh
        self.metrics.route_refreshes.labels("ok" if complete else "failed").inc()
        self.metrics.routes.set(len(self._routes.routes))

    def _note_failure(self, reason: str, details: str) -> None:
        self.metrics.scrapes.labels(reason).inc()
        self.metrics.collector_up.set(0)
        _log.warning("no usable scrape (%s): %s", reason, details)

    def _note_buffer(self) -> None:
        self.metrics.buffered_snapshots.set(self._journal.buffered_count)
        self.metrics.buffered_bytes.set(self._journal.buffered_bytes)

    def _backoff(self) -> Backoff:
        return Backoff(self._config.backoff_min, self._config.backoff_max, self._jitter)


async def run(
    config: AgentConfig,
    *,
    source: Source | None = None,
    sink: Sink | None = None,
    route_sources: Sequence[RouteSource] = (),
) -> None:
    """Runs an agent until cancelled.

    `source`, `sink` and `route_sources` default to what `config` names; a process that is its own
    source or master passes ``LocalSource``, ``LocalSink`` and ``FixedRoutes``.

    Raises:
        JournalError: the state directory cannot be used.
        OSError: the address for the agent's own metrics cannot be bound.
    """
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(
            Journal(config.state_dir, config.agent_name, config.buffer_size_max)
        )
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        agent = Agent(
            config,
            journal,
            source
            or CollectorSource(
                client,
                config.otel_metrics_url,
                config.otel_health_url,
                timeout_s=config.scrape_timeout,
                size_max_bytes=config.scrape_size_max,
                token=_revealed(config.metrics_token),
            ),
            sink
            or MasterSink(
                client,
                config.master_url,
                _revealed(config.token),
                timeout_s=config.send_timeout,
            ),
            route_sources or _route_sources(config.routes),
        )
        if config.metrics_address is not None:
            host, port = address_parts(config.metrics_address)
            server, thread = start_http_server(port, host, agent.metrics.registry)
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        await agent.work()


def main(config_path: Path) -> int:
    """Runs the agent that a file describes, until SIGTERM or SIGINT.

    Returns:
        The exit status: 0 ended by a signal, 1 failed, 2 wrong configuration.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        config = load_config(config_path)
    except ConfigError as error:
        _log.error("%s", error)
        return 2
    try:
        asyncio.run(_run_until_signal(config))
    except (JournalError, OSError) as error:
        _log.error("%s", error)
        return 1
    return 0


async def _run_until_signal(config: AgentConfig) -> None:
    working = asyncio.ensure_future(run(config))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    try:
        await working
    except asyncio.CancelledError:
        _log.info("ended by a signal; the buffer is on disk")


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _route_sources(routes: Routes) -> list[RouteSource]:
    sources: list[RouteSource] = []
    if routes.file is not None:
        sources.append(FileRoutes(routes.file))
    if routes.kubernetes is not None:
        cluster = routes.kubernetes
        sources.append(KubernetesRouteSource(cluster.url, cluster.credentials_dir))
    return sources
