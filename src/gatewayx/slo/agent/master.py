"""Where snapshots go: the master over HTTP, or a function of this process.

Every answer becomes one of three verdicts, because only three things can be done with a snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import httpx

SNAPSHOTS_PATH = "/api/v2/slo/snapshots"
_ANSWER_EXCERPT_LENGTH = 500
_PATIENT_STATUSES = frozenset({401, 403, 404, 405, 408, 425, 429})
"""Refusals that are about the installation or the moment, not about this snapshot. It is kept:
the operator will mend the token, the path or the load, and nothing is lost until then."""


class Verdict(Enum):
    """What the master's answer means for a snapshot."""

    ACKNOWLEDGED = "acknowledged"
    """Stored, now or before."""
    REFUSED = "refused"
    """Not stored, and never will be."""
    UNAVAILABLE = "unavailable"
    """Unknown. Send it again: its number makes that harmless."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The master's answer to one snapshot."""

    verdict: Verdict
    details: str = ""
    retry_after_s: float | None = None


class Sink(Protocol):
    """Anything that can take a snapshot."""

    async def send(self, body: bytes) -> Answer:
        """Hands over a snapshot's JSON. Every fault is an answer; nothing is raised."""
        ...


class MasterSink:
    """A master over HTTP."""

    def __init__(
        self, client: httpx.AsyncClient, master_url: str, token: str | None, *, timeout_s: float
    ) -> None:
        self._client = client
        self._url = master_url.rstrip("/") + SNAPSHOTS_PATH
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    async def send(self, body: bytes) -> Answer:
        """Posts `body`; anything but a clear answer within the timeout is unavailability."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.post(self._url, content=body, headers=self._headers)
        except TimeoutError:
            return Answer(Verdict.UNAVAILABLE, f"no answer within {self._timeout_s} s")
        except httpx.HTTPError as error:
            return Answer(Verdict.UNAVAILABLE, f"{type(error).__name__}: {error}")
        return _judge(response)


class LocalSink:
    """A master in this process. `ingest` raises ValueError for a snapshot it refuses."""

    def __init__(self, ingest: Callable[[bytes], object]) -> None:
        self._ingest = ingest

    async def send(self, body: bytes) -> Answer:
        """Calls `ingest`, off the event loop."""
        try:
            await asyncio.to_thread(self._ingest, body)
        except ValueError as error:
            return Answer(Verdict.REFUSED, str(error)[:_ANSWER_EXCERPT_LENGTH])
        except Exception as error:
            # Whatever else goes wrong in there (a locked database) may be right again later.
            return Answer(Verdict.UNAVAILABLE, f"{type(error).__name__}: {error}")
        return Answer(Verdict.ACKNOWLEDGED)


def _judge(response: httpx.Response) -> Answer:
    status = response.status_code
    if response.is_success or status == httpx.codes.CONFLICT:
        return Answer(Verdict.ACKNOWLEDGED)
    details = f"{status} {response.text[:_ANSWER_EXCERPT_LENGTH]}".strip()
    if response.is_client_error and status not in _PATIENT_STATUSES:
        return Answer(Verdict.REFUSED, details)
    return Answer(Verdict.UNAVAILABLE, details, _retry_after_s(response))


def _retry_after_s(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
