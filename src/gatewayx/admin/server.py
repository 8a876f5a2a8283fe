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

CONNECTIONS_MAX_COUNT = 256
HEAD_MAX_BYTES = 16 << 10
KEEP_ALIVE_SECONDS = 15
STOP_SECONDS = 5


class AdminServer:
    """The admin API on one listening socket, between `start` and `stop`."""

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
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
        )
        self._listening = listening
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

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
