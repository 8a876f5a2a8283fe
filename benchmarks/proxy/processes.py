"""Processes under measurement: start, pin, account, end.

Linux only. CPU time is the kernel's own per-process clock, in nanoseconds, over all threads dead or
alive; with the usual tick accounting it includes the network stack's work done on the process's
behalf. Time stolen by a hypervisor is not in it. Every process that is started here is ended here,
by its id.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 10
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CPUCLOCK_SCHED = 2


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time used by some processes so far. Differences of two are what is reported."""

    cpu_ns: int = 0
    user_ticks: int = 0
    system_ticks: int = 0

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(
            self.cpu_ns - earlier.cpu_ns,
            self.user_ticks - earlier.user_ticks,
            self.system_ticks - earlier.system_ticks,
        )

    @property
    def user_share(self) -> float:
        """The part spent outside the kernel: sampled by the tick, so good to a few percent."""
        return self.user_ticks / max(1, self.user_ticks + self.system_ticks)


@dataclass(frozen=True, slots=True)
class CoreTime:
    """What one core has done so far, in seconds, whoever it worked for."""

    busy: float
    stolen: float

    def __sub__(self, earlier: CoreTime) -> CoreTime:
        return CoreTime(self.busy - earlier.busy, self.stolen - earlier.stolen)


def usage(pids: Sequence[int]) -> Usage:
    """CPU time of these processes, summed."""
    cpu_ns = user_ticks = system_ticks = 0
    for pid in pids:
        # What clock_getcpuclockid(3) computes, which Python does not offer.
        cpu_ns += time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
        fields = _stat(pid)
        user_ticks += int(fields[11])
        system_ticks += int(fields[12])
    return Usage(cpu_ns, user_ticks, system_ticks)


def resident_bytes(pids: Sequence[int]) -> int:
    """Resident memory of these processes, summed; pages that they share count in each."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES for pid in pids)


def core_time(core: int) -> CoreTime:
    """Reads the core's line of /proc/stat."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            busy = user + nice + system + irq + softirq
            return CoreTime(busy / TICKS_PER_SECOND, steal / TICKS_PER_SECOND)
    raise ValueError(f"core {core} is not in /proc/stat")


def descendants(pid: int) -> list[int]:
    """Children of a process and theirs, oldest id first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return sorted(found)


def command_line(pid: int) -> str:
    """The process's command line, arguments separated by spaces; empty when it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    return ""


def pin(pid: int, cores: set[int]) -> None:
    """Moves every thread of a process."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


def take_precedence() -> None:
    """Puts this process and all that it starts before the machine's other work.

    A real-time policy, because niceness only counts within a session where the scheduler groups
    sessions. The kernel keeps a twentieth of each core for the others.
    """
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def find_program(name: str) -> str:
    """Looks beside this interpreter first, then in PATH and where the distributions put servers."""
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise SystemExit(f"{name} is not installed; leave it out with --peers")
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    cores: set[int],
    output: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program pinned to these cores while the block lasts; its output goes to a file."""
    pinned = [
        find_program("taskset"),
        "--cpu-list",
        ",".join(map(str, sorted(cores))),
        find_program(command[0]),
        *command[1:],
    ]
    with output.open("wb") as sink:
        process = subprocess.Popen(
            pinned,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the process to stop; what it and its children do not finish in time is killed."""
    family = []
    for pid in descendants(process.pid):
        with contextlib.suppress(ProcessLookupError):
            family.append(os.pidfd_open(pid))  # An id may be taken anew; a descriptor cannot.
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    if process.poll() is None:
        process.kill()
        process.wait()
    for pidfd in family:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; the name before it may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
