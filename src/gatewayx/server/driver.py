"""The engine on an asyncio loop.

The protocol classes and everything a request needs are native (`native/python`); this module does
what only Python can ask of a loop: dials, one timer, servers. Nothing here runs once a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
from collections.abc import Mapping, Sequence

from gatewayx import _native
from gatewayx.server.dial import connect
from gatewayx.server.resolver import Resolver

log = logging.getLogger("gatewayx")

LOG_FLUSH_SECONDS = 0.1
"""Longest time that a finished access log line waits in memory."""

DRAIN_POLL_SECONDS = 0.01
"""How often a draining engine is asked whether it is done."""

CLOSE_SECONDS = 60.0
"""Longest time that a closed connection may take to send what it still holds."""

MEMORY_RETURN_SECONDS = 2.0
"""How long after a flood its memory is given back."""

BACKLOG_COUNT = 4096
"""Connections that may wait to be accepted; the kernel may allow fewer."""


class Connection(_native.Connection, asyncio.BufferedProtocol):
    """One connection; asyncio wants the base, every method is native."""

    __slots__ = ()


class Driver:
    """One engine, its listening servers and its dials, on the running loop.

    Attributes:
        native: The native half.
        resolver: What is known of upstreams' names.
    """

    def __init__(
        self,
        config: bytes,
        metrics: _native.Metrics,
        *,
        slot: int = 0,
        buffer_size: int = 32 << 10,
        buffers_per_read: int = 4,
        log_fd: int | None = None,
        spans_fd: int | None = None,
        wake_fds: Sequence[int] = (),
        dns: Mapping[str, float] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._servers: dict[str, asyncio.Server] = {}
        self._dials: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._warned: set[tuple[str, str]] = set()
        seed = int.from_bytes(os.urandom(8), "little")
        self.native = _native.Driver(
            self,
            config,
            metrics,
            slot=slot,
            seed=seed,
            buffer_size=buffer_size,
            buffers_per_read=buffers_per_read,
            log_fd=log_fd,
            spans_fd=spans_fd,
            wake_fds=wake_fds,
        )
        self.resolver = Resolver(self.native.keep_addresses)
        self.resolver.configure(**(dns or {}))
        if wake_fds:
            self._loop.add_reader(wake_fds[slot], self._wake, wake_fds[slot])

    async def listen(self, address: str, listening: socket.socket) -> None:
        """Accept callers on a bound socket, which is known by its configured address."""
        listener = self.native.listener(address)
        self._servers[address] = await self._loop.create_server(
            lambda: Connection(self.native, listener=listener),
            sock=listening,
            backlog=BACKLOG_COUNT,
        )

    def ignore(self, address: str) -> None:
        """Accept no more callers there; those who are connected stay."""
        self._servers.pop(address).close()

    async def stop(self, drain_seconds: float) -> None:
        """Stop accepting, let exchanges finish for so long, then cut what is left."""
        for server in self._servers.values():
            server.close()
        self.native.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await self._idle()
        self.resolver.close()
        self.native.shutdown()
        if self._timer is not None:
            self._timer.cancel()
        # One turn of the loop, so that transports report their end while there is a loop.
        await asyncio.sleep(0)

    # What the native half asks for.

    def dial(self, token: int, host: str, port: int) -> None:
        """Open a connection; its protocol object reports it under `token`."""
        task = self._loop.create_task(self._dial(token, host, port))
        self._dials[token] = task
        task.add_done_callback(lambda _: self._dials.pop(token, None))

    def cancel_dial(self, token: int) -> None:
        """The engine has no use for the connection any more."""
        task = self._dials.get(token)
        if task is not None:
            task.cancel()

    def arm(self, seconds: float) -> None:
        """Call `handle_timer` after so long, and not at the time asked for before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.native.handle_timer)

    def arm_log_flush(self) -> None:
        """Call `flush_log` soon."""
        self._loop.call_later(LOG_FLUSH_SECONDS, self.native.flush_log)

    def arm_memory_return(self) -> None:
        """Most of many connections have gone: give their memory back when the rest has, too."""
        self._loop.call_later(MEMORY_RETURN_SECONDS, self._return_memory)

    def warn(self, proxy: str, what: str) -> None:
        """Tell the operator of an upstream's oddity, once for each proxy and oddity."""
        if (proxy, what) not in self._warned:
            self._warned.add((proxy, what))
            log.warning("proxy %s: odd response passed on: %s", proxy, what)

    def close_within_bounds(self, transport: asyncio.Transport) -> None:
        """Close after what is unsent, but do not wait for ever for a peer that does not read."""
        transport.close()
        self._loop.call_later(CLOSE_SECONDS, transport.abort)

    async def _idle(self) -> None:
        while self.native.counts()["downstreams"]:  # noqa: ASYNC110 - only at the end
            await asyncio.sleep(DRAIN_POLL_SECONDS)

    def _return_memory(self) -> None:
        gc.collect()
        self.native.return_memory()

    def _wake(self, fd: int) -> None:
        os.eventfd_read(fd)
        self.native.handle_wake()

    async def _dial(self, token: int, host: str, port: int) -> None:
        try:
            addresses = await self.resolver.addresses(host, port)
            if len(addresses) == 1:
                place = addresses[0].target[:2]
                await self._loop.create_connection(lambda: Connection(self.native, token), *place)
                return
            connected = await connect(addresses)
            # Shielded: it takes a turn of the loop, and whether the transport or the socket closes
            # the descriptor after a cancellation differs between loops. The engine refuses what it
            # does not want any more.
            await asyncio.shield(
                self._loop.create_connection(lambda: Connection(self.native, token), sock=connected)
            )
        except TimeoutError:
            self.native.handle_dial_failed(token, timed_out=True)
        except (OSError, UnicodeError):
            self.native.handle_dial_failed(token, timed_out=False)
