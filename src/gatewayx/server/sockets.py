"""Listening sockets and the loop they are served on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat

from gatewayx.server.driver import BACKLOG_COUNT


class ListenError(Exception):
    """An address cannot be listened on; the text says which and why."""


def bind(address: str) -> socket.socket:
    """Bind and listen on `host:port`; port 0 takes a free one.

    Raises:
        ListenError: When the address is in use, not this machine's, or not allowed.
    """
    host, port = split(address)
    try:
        infos = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from None
    family, kind, protocol, _, place = infos[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(BACKLOG_COUNT)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from None
    return listening


def bind_unix(path: str) -> socket.socket:
    """Bind and listen on a socket of the file system, for its owner only.

    Raises:
        ListenError: When something else is there, somebody listens there, or it is not allowed.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead_socket(path)
        mask = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(mask)
        listening.listen(BACKLOG_COUNT)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise ListenError(f"cannot listen on unix:{path}: {error.strerror}") from None
    return listening


def _remove_dead_socket(path: str) -> None:
    """What a gateway that was killed has left; one that answers stays."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


def split(address: str) -> tuple[str, int]:
    """`host:port` in two, an IPv6 host without its brackets."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def url(listening: socket.socket, scheme: str = "http") -> str:
    """Where a listening socket can be reached from this machine."""
    host, port = listening.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:
        host = "localhost"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's loop where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
