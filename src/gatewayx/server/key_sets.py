"""Sets of keys that issuers publish: fetched, kept, and handed on when they change.

Each URL has a task of its own. A set that cannot be fetched, or holds no usable key, changes
nothing: the last good one serves on, and the next attempt comes after a wait that doubles up to the
configured one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from gatewayx.config import GatewayConfig
from gatewayx.config.auth import KEY_FILE_MAX_BYTES, usable_keys

log = logging.getLogger("gatewayx")

FETCH_SECONDS = 10.0
"""Longest time of one attempt."""

RETRY_SECONDS_MIN = 1.0
"""Wait after the first failure."""

Fetch = Callable[[str], Awaitable[bytes]]


class KeySets:
    """The key sets of a configuration, by URL.

    Attributes:
        found: The last good set of each URL, as it was published.
    """

    def __init__(
        self, on_change: Callable[[], Awaitable[object]], fetch: Fetch | None = None
    ) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._on_change = on_change
        self._fetch = fetch or fetch_bounded
        self._tasks: dict[tuple[str, float], asyncio.Task[None]] = {}
        self._tried: dict[tuple[str, float], asyncio.Event] = {}

    def follow(self, config: GatewayConfig) -> None:
        """Fetch what the configuration names from now on, and nothing else."""
        wanted = {
            (jwt.jwks_url, jwt.jwks_refresh) for jwt in config.auth.jwt if jwt.jwks_url is not None
        }
        for gone in self._tasks.keys() - wanted:
            self._tasks.pop(gone).cancel()
        for new in wanted - self._tasks.keys():
            self._tried[new] = asyncio.Event()
            self._tasks[new] = asyncio.create_task(self._keep(*new))
        urls = {url for url, _ in wanted}
        self.found = {url: found for url, found in self.found.items() if url in urls}

    async def first(self) -> None:
        """Wait until every set has been tried once."""
        tried = [self._tried[key].wait() for key in self._tasks]
        await asyncio.gather(*tried)

    async def close(self) -> None:
        """Fetch nothing any more."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, url: str, refresh_seconds: float) -> None:
        wait_seconds = RETRY_SECONDS_MIN
        while True:
            fetched = await self._refresh(url)
            self._tried[url, refresh_seconds].set()
            if fetched:
                wait_seconds = RETRY_SECONDS_MIN
                pause_seconds = refresh_seconds
            else:
                pause_seconds = min(wait_seconds, refresh_seconds)
                wait_seconds *= 2
            # Many gateways that were started together must not ask together for ever.
            await asyncio.sleep(pause_seconds * random.uniform(0.9, 1.0))

    async def _refresh(self, url: str) -> bool:
        try:
            key_set = json.loads(await self._fetch(url))
            usable_keys(key_set)
        except Exception as error:  # whatever a peer sends, the last good set serves on
            kept = "the last good one serves on" if url in self.found else "there is none yet"
            log.warning("keys of %s: %s; %s", url, error or type(error).__name__, kept)
            return False
        before = self.found.get(url)
        if before != key_set:
            self.found[url] = key_set
            try:
                await self._on_change()
            except Exception:
                log.exception("keys of %s: not put in force", url)
                if before is None:
                    del self.found[url]
                else:
                    self.found[url] = before
                return False
            log.info("keys of %s: %d in force", url, len(usable_keys(key_set)))
        return True


async def fetch_bounded(url: str) -> bytes:
    """Fetch a set of bounded size within a bounded time. Redirects are not followed."""
    # Imported only here: whoever names no URL does not pay for the memory.
    import httpx

    async with (
        asyncio.timeout(FETCH_SECONDS),
        httpx.AsyncClient(timeout=FETCH_SECONDS) as client,
        client.stream("GET", url, headers={"Accept": "application/json"}) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"status {response.status_code}")
        content = b""
        async for piece in response.aiter_bytes():
            content += piece
            if len(content) > KEY_FILE_MAX_BYTES:
                raise ValueError(f"longer than {KEY_FILE_MAX_BYTES >> 10} KiB")
        return content
