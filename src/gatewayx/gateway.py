"""The gateway inside a program: one engine on the program's own loop."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gatewayx import _native
from gatewayx.chaos import Policy, PolicyBook, load_policies, policies_of
from gatewayx.config import (
    ConfigError,
    Fault,
    GatewayConfig,
    compile_engine,
    for_upstream,
    load_file,
    validate,
)
from gatewayx.server.blocks import series
from gatewayx.server.breakers import breaker_block
from gatewayx.server.driver import Driver
from gatewayx.server.health import HealthChecks
from gatewayx.server.key_sets import KeySets
from gatewayx.server.sockets import bind, url
from gatewayx.server.spans import open_spans

if TYPE_CHECKING:
    from gatewayx.tracing import SpanExport

RULES_COUNT = 32
"""Rules of fault policies that an embedded gateway has room for."""


class Gateway:
    """A gateway for the time of an `async with`.

    ```python
    async with gatewayx.Gateway({"proxies": [...]}) as gateway:
        await client.get(gateway.url + "/path")
    ```

    It serves on the running loop, uvloop or not, with the same native code as the server. There is
    no admin API and no worker process; `metrics()` gives what a scrape would.
    """

    def __init__(
        self,
        config: GatewayConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        upstream: str | None = None,
    ) -> None:
        """Take a configuration (model, mapping or file), or just an upstream's URL.

        A mapping without `listeners` gets a free port of 127.0.0.1, one without `access_log` none.

        Raises:
            ConfigError: With every fault of the configuration.
            TypeError: When neither or both are given.
        """
        if (config is None) == (upstream is None):
            raise TypeError("Gateway takes either a configuration or an upstream")
        self._config = _load(config, upstream)
        self._rate_limit_seed = secrets.randbits(64)
        self._key_sets = KeySets(self._renew)
        if self._config.store is not None:
            raise ConfigError(
                [Fault("store", "needs `gatewayx serve`: there is no admin API here")]
            )
        self._compiled = compile_engine(self._config, os.environ)
        self._listening: list[socket.socket] = []
        proxies_count = len(self._config.proxies)
        self._metrics = _native.Metrics.private(1, proxies_count + RULES_COUNT)
        rule_blocks = range(proxies_count + 1, proxies_count + RULES_COUNT + 1)
        self._policies = PolicyBook(self._metrics, rule_blocks, self._publish_policies)
        self._health = HealthChecks(self._metrics)
        self._driver: Driver | None = None
        self._log_fd: int | None = None
        self._spans: SpanExport | None = None

    @property
    def config(self) -> GatewayConfig:
        """The configuration in force."""
        return self._config

    @property
    def url(self) -> str:
        """Where the first listener is, without a trailing slash."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """Where every listener is."""
        if not self._listening:
            raise RuntimeError("the gateway has not been started")
        return [
            url(listening, listener.scheme)
            for listening, listener in zip(self._listening, self._config.listeners, strict=True)
        ]

    def metrics(self) -> list[tuple[Any, ...]]:
        """All metric families: `(name, kind, help, label_names, samples, bounds)`."""
        spans = [] if self._spans is None else self._spans.metrics()
        families = self._metrics.families(series(self._compiled))
        faults = self._metrics.fault_families(self._policies.series())
        return [*families, *self._health.families(), *spans, *faults]

    @property
    def policies(self) -> PolicyBook:
        """The fault policies: what they do, and their switches."""
        return self._policies

    async def apply_policies(self, policies: str | Path | Iterable[object]) -> None:
        """Create or replace fault policies; they are in force when this returns.

        Takes a file or directory, or documents: mappings as a policy file has them, or `Policy`.

        Raises:
            ConfigError: With every fault of all policies; nothing has changed then.
            RoomError: When there are more rules than room for them.
        """
        if isinstance(policies, str | Path):
            found = load_policies(str(policies))
        else:
            found = policies_of(
                one.model_dump(exclude_none=True) if isinstance(one, Policy) else one
                for one in policies
            )
        await self._policies.apply(found, "program")

    async def _publish_policies(self) -> None:
        if self._driver is not None:
            self._driver.native.set_faults(json.dumps(self._policies.compiled()).encode())

    def force_breaker(self, proxy: str, state: Literal["open", "closed", "auto"]) -> None:
        """Keep a proxy's circuit breaker open or closed, or have it decide again, closed.

        Raises:
            KeyError: When there is no such proxy, or none with a circuit breaker.
        """
        block = breaker_block(self._compiled, proxy)
        if block is None:
            raise KeyError(f"{proxy} has no circuit breaker")
        self._metrics.force_breaker(block, state)

    def counts(self) -> dict[str, int]:
        """What is alive: `downstreams`, `upstreams`, `idle_upstreams`, `exchanges`, `timers`, and
        `buffered_bytes`."""
        if self._driver is None:
            raise RuntimeError("the gateway has not been started")
        return self._driver.native.counts()

    async def start(self) -> None:
        """Begin to serve. Raises `ListenError` when an address cannot be bound."""
        access_log = self._config.access_log
        if access_log.enabled and access_log.path != "-":
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._log_fd = os.open(access_log.path, flags, 0o640)
        elif access_log.enabled:
            self._log_fd = os.dup(1)
        self._key_sets.follow(self._config)
        await self._key_sets.first()
        self._listening = [bind(listener.address) for listener in self._config.listeners]
        self._spans = open_spans(self._config.tracing, 1)
        self._driver = Driver(
            self._engine_config(),
            self._metrics,
            buffer_size=self._config.buffers.size,
            buffers_per_read=self._config.buffers.per_read,
            log_fd=self._log_fd,
            dns=self._config.dns.model_dump(),
            spans_fd=None if self._spans is None else self._spans.write_fds[0],
        )
        await self._publish_policies()
        self._health.apply(self._config, self._compiled)
        for listener, listening in zip(self._config.listeners, self._listening, strict=True):
            await self._driver.listen(listener.address, listening)

    def _engine_config(self) -> bytes:
        return json.dumps({**self._compiled, "rate_limit_seed": self._rate_limit_seed}).encode()

    async def _renew(self) -> None:
        """Put fetched keys in force."""
        self._compiled = compile_engine(self._config, os.environ, key_sets=self._key_sets.found)
        if self._driver is not None:
            self._driver.native.configure(self._engine_config())

    async def stop(self) -> None:
        """Stop accepting, let exchanges finish within `drain_timeout`, close everything."""
        await self._key_sets.close()
        await self._health.stop()
        if self._driver is not None:
            await self._driver.stop(self._config.drain_timeout)
            self._driver.native.close_log()
            self._driver = None
        if self._spans is not None:
            await self._spans.close()
            self._spans = None
        for listening in self._listening:
            listening.close()
        self._listening = []
        if self._log_fd is not None:
            os.close(self._log_fd)
            self._log_fd = None

    async def __aenter__(self) -> Gateway:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _load(
    config: GatewayConfig | Mapping[str, Any] | str | Path | None, upstream: str | None
) -> GatewayConfig:
    if isinstance(config, GatewayConfig):
        return config
    # A program's standard output is its own.
    defaults = {"listeners": [{"address": "127.0.0.1:0"}], "access_log": {"enabled": False}}
    if upstream is not None:
        config = for_upstream(upstream).model_dump(include={"proxies"})
    if isinstance(config, Mapping):
        return validate({**defaults, **config}, os.environ)
    assert config is not None
    return load_file(config)
