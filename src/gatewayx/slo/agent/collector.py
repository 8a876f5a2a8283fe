"""Where the text comes from: a collector over HTTP, or a function of this process.

The collector is asked for its health first: one that has just started answers with half of what
it will know, and half a text looks like evictions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import httpx

_ACCEPT = "text/plain;version=0.0.4"


class ScrapeError(Exception):
    """No text this time. The next one will cover this interval too."""

    def __init__(self, reason: str, details: str) -> None:
        super().__init__(f"{reason}: {details}")
        self.reason = reason
        """``unhealthy``, ``unreachable``, ``timeout``, ``status``, ``oversized`` or ``broken_off``:
        a label value of the agent's own metrics."""


class Source(Protocol):
    """Anything that can show all counters at once, as Prometheus text."""

    async def scrape(self) -> bytes:
        """The text of this moment.

        Raises:
            ScrapeError: there is none.
        """
        ...


class CollectorSource:
    """A metrics endpoint: an OpenTelemetry Collector, a Prometheus that federates, a gateway."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        metrics_url: str,
        health_url: str | None,
        *,
        timeout_s: float,
        size_max_bytes: int,
        token: str | None = None,
    ) -> None:
        self._client = client
        self._metrics_url = metrics_url
        self._health_url = health_url
        self._timeout_s = timeout_s
        self._size_max_bytes = size_max_bytes
        self._headers = {"Accept": _ACCEPT}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    async def scrape(self) -> bytes:
        """Asks for health, then for the text; `timeout_s` covers both."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._check_health()
                return await self._fetch()
        except TimeoutError:
            raise ScrapeError("timeout", f"no text within {self._timeout_s} s") from None

    async def _check_health(self) -> None:
        if self._health_url is None:
            return
        try:
            answer = await self._client.get(self._health_url)
        except httpx.HTTPError as error:
            raise ScrapeError("unhealthy", _described(error)) from error
        if not answer.is_success:
            raise ScrapeError("unhealthy", f"the health check answers {answer.status_code}")

    async def _fetch(self) -> bytes:
        chunks = bytearray()
        try:
            async with self._client.stream(
                "GET", self._metrics_url, headers=self._headers
            ) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise ScrapeError("status", f"{self._metrics_url} answers {answer.status_code}")
                async for chunk in answer.aiter_bytes():
                    chunks += chunk
                    if len(chunks) > self._size_max_bytes:
                        raise ScrapeError("oversized", f"over {self._size_max_bytes} bytes")
        except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
            raise ScrapeError("broken_off", _described(error)) from error
        except httpx.HTTPError as error:
            raise ScrapeError("unreachable", _described(error)) from error
        return bytes(chunks)


class LocalSource:
    """The counters of this process or its shared region, with no network in between."""

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render = render

    async def scrape(self) -> bytes:
        """Renders the counters, off the event loop."""
        return await asyncio.to_thread(self._render)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
