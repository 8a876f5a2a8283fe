"""Service levels inside `gatewayx serve`: a master fed by the gateway's own counters.

Nothing is scraped and nothing travels: rows of the shared memory become samples, go through the
agent's stages (``normalise``, ``delta``, ``aggregate``) and end in the master of this process.

Theory of operation. The counters begin with the process, so what is remembered begins with nothing
and not with a baseline: every request counts, the first one included, and no disk is needed for
last values. One interval is held until the master has answered for it, under one number; the
counters meanwhile go on, and the next interval covers all of that time. A last look after the
workers have drained makes the totals equal to the counters. Nothing here runs on the request path.

Invariant: whatever fails in here, the gateway goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from alembic.util import CommandError
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from gatewayx.config import GatewayConfig, ProxyConfig
from gatewayx.config.values import upstream_address
from gatewayx.slo.agent.aggregate import aggregate
from gatewayx.slo.agent.delta import LastValues, advance
from gatewayx.slo.agent.master import LocalSink, Verdict
from gatewayx.slo.agent.normalise import METRICS, normalise
from gatewayx.slo.agent.parse import ParsedText, Sample
from gatewayx.slo.agent.routes import merge_routes
from gatewayx.slo.master.api import create_router
from gatewayx.slo.master.http import install_errors
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.settings import Limits, MasterSettings
from gatewayx.slo.snapshot import Route, SLOSnapshot

log = logging.getLogger("gatewayx")

ANY_HOST = "*"
"""The domain of a proxy that takes requests for every host."""

Rows = Callable[[], Iterable[tuple[Any, ...]]]


class StoreUnusable(OSError):
    """The database for service levels cannot be opened."""


class ServiceLevels:
    """A master and what feeds it, between `open` and `close`."""

    def __init__(self, master: Master, rows: Rows, config: Callable[[], GatewayConfig]) -> None:
        self._master = master
        self._sink = LocalSink(master.receive_json)
        self._rows = rows
        self._config = config
        self._settings = config().slo
        self._agent_id = f"gateway-{secrets.token_hex(6)}"
        self._seq = 0
        self._last = LastValues(at=time.time())
        self._held: bytes | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, rows: Rows, config: Callable[[], GatewayConfig]) -> ServiceLevels:
        """Open the database and start counting from here; call it before anything is served.

        Args:
            rows: The counters, as `Supervisor.metrics` gives them.
            config: The configuration in force.

        Raises:
            StoreUnusable: When the database cannot be opened or brought up to date.
        """
        slo, admin = config().slo, config().admin
        settings = MasterSettings(
            store_url=slo.store,
            clusters=(slo.cluster,),
            external_url=f"http://{admin.address}",
            # A database that was away for hours loses nothing: one interval covers them.
            limits=Limits(interval_max_s=Limits().late_max_s),
        )
        try:
            master = await asyncio.to_thread(Master, settings)
        except ImportError as error:
            raise StoreUnusable(f"slo.store: install gatewayx[postgres] ({error})") from error
        except (SQLAlchemyError, CommandError, ValueError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise StoreUnusable(f"slo.store cannot be opened: {cause}") from error
        levels = cls(master, rows, config)
        master.start()
        levels._task = asyncio.create_task(levels._feed_for_ever())
        return levels

    def serve_from(self, app: FastAPI) -> None:
        """Add `/api/v2/slo/...` to an application that knows who may call."""
        install_errors(app)
        app.include_router(create_router(self._master))

    async def close(self) -> None:
        """Look at the counters once more, then close the database."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        # Twice: what was held, and what has been counted since.
        await self.feed()
        await self.feed()
        await asyncio.to_thread(self._master.close)

    async def feed(self) -> None:
        """Hand the held interval to the master, or else the one that ends now."""
        try:
            if self._held is None:
                self._held = await asyncio.to_thread(self._measure)
            answer = await self._sink.send(self._held)
        except Exception:
            log.exception("service levels could not be measured")
            return
        if answer.verdict is Verdict.UNAVAILABLE:
            log.warning("service levels are held back: %s", answer.details)
            return
        if answer.verdict is Verdict.REFUSED:
            log.error("service levels of an interval are lost: %s", answer.details)
        self._held = None

    async def _feed_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.interval)
            await self.feed()

    def _measure(self) -> bytes:
        now = time.time()
        samples = tuple(samples_of(self._rows()))
        # In this process nothing is out of sight, so no gap makes a baseline.
        normalised = normalise(ParsedText(samples, len(samples), 0, 0, False))
        step = advance(self._last, normalised.scrape, now, math.inf)
        figures = aggregate(step.deltas)
        start = min(self._last.at or now, now)
        snapshot = SLOSnapshot(
            cluster_id=self._settings.cluster,
            agent_id=self._agent_id,
            seq=self._seq + 1,
            timestamp=datetime.fromtimestamp(now, UTC),
            interval_start=datetime.fromtimestamp(start, UTC),
            interval_end=datetime.fromtimestamp(now, UTC),
            ingress=figures.ingress,
            routes=routes_of(self._config().proxies),
        )
        body = snapshot.to_json()
        self._seq, self._last = snapshot.seq, step.last
        return body


def samples_of(rows: Iterable[tuple[Any, ...]]) -> Iterator[Sample]:
    """The rows that mean something to the agent, as if read from an exposition."""
    for name, kind, _, label_names, points, bounds in rows:
        histogram = kind == "histogram"
        if (f"{name}_count" if histogram else name) not in METRICS:
            continue
        for label_values, *figures in points:
            labels = dict(zip(label_names, label_values, strict=True))
            if not histogram:
                yield Sample(name, labels, None, float(figures[0]))
                continue
            counts, total = figures
            for bound, count in zip((*bounds, math.inf), counts, strict=True):
                yield Sample(f"{name}_bucket", labels, str(bound), float(count))
            yield Sample(f"{name}_sum", labels, None, total)
            yield Sample(f"{name}_count", labels, None, float(counts[-1]))


def routes_of(proxies: Iterable[ProxyConfig]) -> tuple[Route, ...]:
    """Which domain and path lead to which proxy: its name is its service key."""
    return merge_routes(_route(proxy) for proxy in proxies if proxy.active)


def _route(proxy: ProxyConfig) -> Route:
    upstream = upstream_address(proxy.upstream_urls()[0])
    return Route(
        domain=proxy.host or ANY_HOST,
        path_prefix=proxy.path,
        service_key=proxy.name,
        service_name=upstream.host,
        service_port=str(upstream.port),
    )
