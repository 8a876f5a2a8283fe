"""A TCP connection to the first of several addresses that answers (RFC 8305, "happy eyeballs").

The next address is tried when the one before has failed, or has not answered for a moment; whoever
is connected first wins. There is no deadline here: the engine has one for the whole dial.
"""

from __future__ import annotations

import asyncio
import socket

from gatewayx.server.resolver import Address, Addresses

STAGGER_SECONDS = 0.25
"""How long an address has before the next is tried beside it (RFC 8305 section 5)."""


async def connect(addresses: Addresses) -> socket.socket:
    """Connect to one of them.

    Raises:
        TimeoutError: When no address answered.
        OSError: When none could be reached; what the last one said.
    """
    if len(addresses) == 1:
        return await _connect_to(addresses[0])
    dials: list[asyncio.Task[socket.socket]] = []
    winner: asyncio.Task[socket.socket] | None = None
    try:
        for address in addresses:
            dials.append(asyncio.create_task(_connect_to(address)))
            winner = await _first(dials, STAGGER_SECONDS)
            if winner is not None:
                return winner.result()
        winner = await _first(dials, None)
        if winner is not None:
            return winner.result()
        failures = [dial.exception() for dial in dials]
        refusals = [failure for failure in failures if not isinstance(failure, TimeoutError)]
        raise (refusals or failures)[-1] or OSError("no address")
    finally:
        for dial in dials:
            if dial is not winner:
                _give_up(dial)


async def _first(
    dials: list[asyncio.Task[socket.socket]], seconds: float | None
) -> asyncio.Task[socket.socket] | None:
    """The first dial that succeeds within the time; `None` also when the newest has failed."""
    newest = dials[-1]
    running = {dial for dial in dials if not dial.done()}
    loop = asyncio.get_running_loop()
    until = None if seconds is None else loop.time() + seconds
    while running:
        left = None if until is None else max(until - loop.time(), 0)
        done, running = await asyncio.wait(
            running, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        for dial in done:
            if dial.exception() is None:
                return dial
        if not done or (until is not None and newest in done):
            return None
    return None


def _give_up(dial: asyncio.Task[socket.socket]) -> None:
    if not dial.done():
        dial.cancel()
    elif not dial.cancelled() and dial.exception() is None:
        dial.result().close()


async def _connect_to(address: Address) -> socket.socket:
    loop = asyncio.get_running_loop()
    connecting = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(connecting, address.target)
    except BaseException:
        # Not at once: the loop stops watching the descriptor in a callback that is yet to run, and
        # by then the number could be that of another dial, which would never hear of its end.
        loop.call_soon(connecting.close)
        raise
    return connecting
