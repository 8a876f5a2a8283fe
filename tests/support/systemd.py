"""The part of systemd that a service talks to: a socket for its messages, sockets to serve on."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

# What systemd does between fork and exec: descriptors from 3 on, and the process's own id.
_START = """
import fcntl, os, sys
count = int(sys.argv[1])
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 64) for fd in sys.argv[2:2 + count]]
for number, fd in enumerate(fds):
    os.dup2(fd, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count))
os.execv(sys.executable, [sys.executable, *sys.argv[2 + count:]])
"""


class Systemd:
    """Listens for the messages of one service."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self.messages: list[dict[str, str]] = []

    def environ(self, *, watchdog_seconds: float = 0) -> dict[str, str]:
        """What the service finds in its environment."""
        found = {"NOTIFY_SOCKET": str(self.path)}
        if watchdog_seconds:
            found["WATCHDOG_USEC"] = str(int(watchdog_seconds * 1e6))
        return found

    def expect(self, name: str, seconds: float = 20) -> dict[str, str]:
        """The next message that sets a variable; those before it are kept in `messages`."""
        deadline = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            text = self._socket.recv(4096).decode()
            message = dict(line.split("=", 1) for line in text.split("\n"))
            self.messages.append(message)
            if name in message:
                return message

    def close(self) -> None:
        self._socket.close()


def activation(sockets: list[socket.socket]) -> tuple[list[str], list[int]]:
    """What to put before a Python program's arguments so that it inherits the sockets, and what
    descriptors to pass to it."""
    fds = [os.dup(listening.fileno()) for listening in sockets]
    return [sys.executable, "-c", _START, str(len(fds)), *map(str, fds)], fds
