"""What systemd asks of a service, spoken directly: messages to it, sockets from it.

See sd_notify(3) and sd_listen_fds(3). Started by anything else, nothing here does anything. What is
read from the environment is taken out of it, so that no process started from here speaks for this
one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import MutableMapping

from gatewayx.server.sockets import ListenError, split

log = logging.getLogger("gatewayx")

LISTEN_FDS_START = 3
"""The first descriptor that is handed over."""


class Notifier:
    """Tells systemd how the service is; silent when nobody asked.

    Attributes:
        watchdog_seconds: How often `alive` has to be called, at least; 0 without a watchdog.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_ours = bool(address) and usec.isdecimal() and pid in {"", str(os.getpid())}
        self.watchdog_seconds = int(usec) / 2e6 if is_ours else 0.0
        self._socket: socket.socket | None = None
        if address:
            # An abstract name is written with @ for its null byte.
            place = "\0" + address[1:] if address.startswith("@") else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                self._socket.connect(place)
            except OSError as error:
                log.warning("cannot notify systemd: %s", error.strerror)
                self.close()

    def ready(self, status: str) -> None:
        """The service serves: after its start, and after every reload."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it, whatever came of it."""
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_usec}")

    def stopping(self, seconds: float) -> None:
        """The service stops, which may take so long."""
        self._send(
            "STOPPING=1",
            "STATUS=draining: no new connections, waiting for what is under way",
            f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}",
        )

    def alive(self) -> None:
        """For the watchdog."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *assignments: str) -> None:
        if self._socket is not None:
            # A full socket buffer must not hold up the service.
            with contextlib.suppress(OSError):
                self._socket.send("\n".join(assignments).encode())


class Inherited:
    """Listening sockets that systemd has bound, found by the address that they are bound to."""

    def __init__(self, environ: MutableMapping[str, str], first_fd: int = LISTEN_FDS_START) -> None:
        """Take the sockets over.

        Raises:
            ListenError: When one of them does not accept TCP connections.
        """
        pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
        environ.pop("LISTEN_FDNAMES", None)
        environ.pop("LISTEN_PIDFDID", None)
        self._by_place: dict[tuple[str, int], socket.socket] = {}
        if pid != str(os.getpid()) or not count.isdecimal():
            return
        for fd in range(first_fd, first_fd + int(count)):
            listening = _listening(fd)
            self._by_place[listening.getsockname()[:2]] = listening

    def take(self, address: str) -> socket.socket | None:
        """The socket that is bound to a configured `host:port`, if there is one."""
        host, port = split(address)
        with contextlib.suppress(OSError):
            for *_, place in socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                found = self._by_place.pop((str(place[0]), int(place[1])), None)
                if found is not None:
                    return found
        return None

    def refuse_rest(self) -> None:
        """See to it that every socket has been taken.

        Raises:
            ListenError: When one has not: its callers would wait for ever.
        """
        for host, port in self._by_place:
            name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise ListenError(f"systemd passes a socket for {name}, which no listener has")


def _listening(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    try:
        listening = socket.socket(fileno=fd)
        kind, family = listening.type, listening.family
        accepts = listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(f"systemd's descriptor {fd} is no socket: {error.strerror}") from None
    if kind != socket.SOCK_STREAM or family not in {socket.AF_INET, socket.AF_INET6} or not accepts:
        raise ListenError(f"systemd's descriptor {fd} is no listening TCP socket")
    listening.setblocking(False)
    return listening
