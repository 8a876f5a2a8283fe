"""Running the admin API on a loop that belongs to someone else.

uvicorn is told to leave signals, logging configuration and life-span protocol alone: all three are
the supervisor's. The listening socket is given, because the supervisor binds it before anything is
started.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from gatewayx.config import Identity

CONNECTIONS_MAX_COUNT = 256
HEAD_MAX_BYTES = 16 << 10
KEEP_ALIVE_SECONDS = 15
STOP_SECONDS = 5


class AdminServer:
    """The admin API on one listening socket, between `start` and `stop`."""

    def __init__(self, app: ASGIApp, listening: socket.socket, tls: Identity | None = None) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX_COUNT,
            h11_max_incomplete_event_size=HEAD_MAX_BYTES,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            ssl_certfile=None if tls is None else tls.cert_file,
            ssl_keyfile=None if tls is None else tls.key_file,
        )
        self._listening = listening
        self._scheme = "http" if tls is None else "https"
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it can be reached from this machine."""
        name = self._listening.getsockname()
        if self._listening.family == socket.AF_UNIX:
            return f"unix:{name}"
        host = "localhost" if name[0] in ("0.0.0.0", "::") else name[0]
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{name[1]}"

    async def start(self) -> None:
        """Return once connections are accepted. Raises what kept it from it."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listening]))
        accepting = asyncio.create_task(self._server.accepting.wait())
        try:
            await asyncio.wait({self._task, accepting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            accepting.cancel()
        if not self._server.accepting.is_set():
            await self._task

    async def stop(self) -> None:
        """Stop accepting, finish the requests in flight within `STOP_SECONDS`, close the socket."""
        if self._task is not None:
            self._server.should_exit = True
            await self._task


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
