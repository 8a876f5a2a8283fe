"""Active health checks: one task for each upstream that is to be probed.

They run once for all workers, in the supervisor (or in the program that embeds a gateway), and
write one bit for each upstream into the memory that the workers share; there it costs a request
one load. An upstream keeps its verdict over a reload that keeps its proxy's name, its URL and the
check.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from gatewayx import _native
from gatewayx.config import GatewayConfig, HealthCheckConfig, ProxyConfig
from gatewayx.config.tls import UpstreamTls
from gatewayx.config.values import upstream_address
from gatewayx.server.probe import probe

log = logging.getLogger("gatewayx")

PROBES_MAX_COUNT = 256
"""Probes at a time; more wait for their turn, and their time-out does not run meanwhile."""

_HELP = "Whether active health checks find an upstream well: 1, or 0 when it is down."


class _Key(NamedTuple):
    proxy: str
    url: str
    check: HealthCheckConfig
    tls: UpstreamTls


@dataclass(slots=True)
class Verdict:
    """What is known of one upstream.

    Attributes:
        up: Whether it gets requests.
        since: When that began, seconds since 1970.
        failure: What the last probe found wrong; `None` when it was good, or there was none yet.
        in_a_row: Probes that contradict `up`, one after the other.
    """

    up: bool
    since: float
    failure: str | None = None
    in_a_row: int = 0

    def hear(self, failure: str | None, check: HealthCheckConfig) -> bool:
        """Take in a probe; whether the verdict has changed."""
        self.failure = failure
        if self.up == (failure is None):
            self.in_a_row = 0
            return False
        self.in_a_row += 1
        if self.in_a_row < (check.unhealthy if self.up else check.healthy):
            return False
        self.up = not self.up
        self.since = time.time()
        self.in_a_row = 0
        return True


class HealthChecks:
    """All probers of a gateway. `apply` and `stop` belong to one loop."""

    def __init__(self, metrics: _native.Metrics) -> None:
        self._metrics = metrics
        self._blocks: dict[str, int] = {}
        self._keys: dict[str, list[_Key]] = {}
        self._verdicts: dict[_Key, Verdict] = {}
        self._tasks: dict[_Key, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(PROBES_MAX_COUNT)

    def apply(self, config: GatewayConfig, compiled: dict[str, Any]) -> None:
        """Probe what this configuration asks for, and nothing else any more."""
        self._blocks = {proxy["name"]: proxy["block"] for proxy in compiled["proxies"]}
        self._keys = {proxy.name: _keys(proxy) for proxy in config.proxies}
        wanted = dict.fromkeys(key for keys in self._keys.values() for key in keys)
        for key in self._tasks.keys() - wanted.keys():
            self._tasks.pop(key).cancel()
            del self._verdicts[key]
        for key in wanted.keys() - self._tasks.keys():
            self._verdicts[key] = Verdict(up=True, since=time.time())
            self._tasks[key] = asyncio.create_task(self._watch(key, self._verdicts[key]))
        for proxy in self._keys:
            self._publish(proxy)

    async def stop(self) -> None:
        """End every prober."""
        tasks = list(self._tasks.values())
        self._tasks = {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def upstreams(self, proxy: str) -> list[dict[str, Any]]:
        """What is known of a proxy's upstreams that are probed, in their order."""
        return [
            {"url": key.url, "up": verdict.up, "since": verdict.since, "failure": verdict.failure}
            for key, verdict in self._of(proxy)
        ]

    def families(self) -> list[tuple[Any, ...]]:
        """`gateway_upstream_up`, as a row of `Metrics.families`."""
        samples = [
            ((proxy, key.url), int(verdict.up))
            for proxy in self._keys
            for key, verdict in dict(self._of(proxy)).items()
        ]
        return [("gateway_upstream_up", "gauge", _HELP, ("proxy", "upstream"), samples, ())]

    def _of(self, proxy: str) -> Iterator[tuple[_Key, Verdict]]:
        for key in self._keys.get(proxy, ()):
            yield key, self._verdicts[key]

    def _publish(self, proxy: str) -> None:
        down = sum(
            1 << index for index, (_, verdict) in enumerate(self._of(proxy)) if not verdict.up
        )
        self._metrics.set_down(self._blocks[proxy], down)

    async def _watch(self, key: _Key, verdict: Verdict) -> None:
        address = upstream_address(key.url)
        while True:
            async with self._turns:
                failure = await probe(address, key.check, key.tls)
            if verdict.hear(failure, key.check):
                self._publish(key.proxy)
                if verdict.up:
                    log.warning("proxy %s: upstream %s is up again", key.proxy, key.url)
                else:
                    log.warning("proxy %s: upstream %s is down: %s", key.proxy, key.url, failure)
            # Not all at once, and not in step with anything that the upstream does on time.
            await asyncio.sleep(key.check.interval * random.uniform(0.9, 1.1))


def _keys(proxy: ProxyConfig) -> list[_Key]:
    check = proxy.health_check
    if check is None or not proxy.active:
        return []
    return [_Key(proxy.name, url, check, proxy.tls) for url in proxy.upstream_urls()]


def with_checks(compiled: dict[str, Any], config: GatewayConfig) -> dict[str, Any]:
    """A compiled configuration with the checks in it, which the engine does not know: to compare
    two of them."""
    checks = {proxy.name: proxy.health_check for proxy in config.proxies}
    proxies = [{**proxy, "health_check": checks[proxy["name"]]} for proxy in compiled["proxies"]]
    return {**compiled, "proxies": proxies}
