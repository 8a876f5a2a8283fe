"""The origin and the proxies in front of it: build, start, find their processes, verify.

A peer is measured only after its answers have been checked: status and every byte of the body for
each size, and on the origin's side the headers that a proxy must add, over HTTP/1.1.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.proxy import processes
from benchmarks.proxy.definitions import DIRECT, DIRECTORY, PeerDefinition, fill

START_SECONDS = 20
ORIGIN_SOURCE = DIRECTORY / "origin.rs"
ORIGIN_PROGRAM = DIRECTORY.parents[1] / "target" / "benchmarks" / "origin"
NOT_ROUTED = "/not-routed"
"""A path that every peer answers itself, with 404."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where: the proxy on one core; the load, the origin and the harness on the others.

    With a single core all share it, in turn. A wake-up is then a context switch and never an
    interrupt sent to another core, which some virtual machines charge the sender tens of
    microseconds for.
    """

    proxy: int
    load: frozenset[int]

    @property
    def shared(self) -> bool:
        return self.proxy in self.load


@dataclass(frozen=True, slots=True)
class Target:
    """Something that serves the origin's responses at an address."""

    name: str
    port: int
    traffic_pids: tuple[int, ...] = ()
    supervisor_pids: tuple[int, ...] = ()


def body_path(body_bytes: int) -> str:
    """The path of a response body of this size."""
    return f"/b/{body_bytes}"


def fetch(port: int, path: str) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def accepted_count(origin_port: int) -> int:
    """Connections that the origin has accepted so far, the one that asks included."""
    return int(fetch(origin_port, "/b/accepted")[1])


@contextlib.contextmanager
def origin(directory: Path, body_sizes: Sequence[int], cores: frozenset[int]) -> Iterator[Target]:
    """Builds the origin when its source is newer, and runs it."""
    if not _is_newer(ORIGIN_PROGRAM, ORIGIN_SOURCE):
        ORIGIN_PROGRAM.parent.mkdir(parents=True, exist_ok=True)
        rustc = processes.find_program("rustc")
        options = ["--edition", "2021", "-O", "-o", str(ORIGIN_PROGRAM)]
        subprocess.run([rustc, *options, str(ORIGIN_SOURCE)], check=True, timeout=120)
    port = processes.free_port()
    command = [str(ORIGIN_PROGRAM), f"127.0.0.1:{port}", *map(str, body_sizes)]
    output = directory / "origin.output"
    with processes.running(command, cores=set(cores), output=output) as process:
        _wait_until_serving(process, port, body_path(body_sizes[0]), output)
        yield Target(DIRECT, port, (process.pid,))


@contextlib.contextmanager
def peer(
    definition: PeerDefinition,
    *,
    origin_port: int,
    directory: Path,
    cores: Cores,
    access_log: bool,
) -> Iterator[Target]:
    """Runs a peer with its traffic on the proxy core and its other processes on the load cores."""
    directory.mkdir()
    port, upstream = processes.free_port(), f"127.0.0.1:{origin_port}"
    config, output = directory / definition.config.name, directory / "output"
    values = {
        "dir": str(directory),
        "config": str(config),
        "listen": f"127.0.0.1:{port}",
        "host": "127.0.0.1",
        "port": str(port),
        "upstream": upstream,
        "upstream_host": "127.0.0.1",
        "upstream_port": str(origin_port),
        "admin": f"127.0.0.1:{processes.free_port()}",
    }
    values["access_log"] = fill(definition.access_log["on" if access_log else "off"], values)
    config.write_text(fill(definition.config.read_text(), values))
    command = [fill(argument, values) for argument in definition.command]
    with processes.running(
        command, cores={cores.proxy}, output=output, environment=definition.environment
    ) as process:
        _wait_until_serving(process, port, "/b/echo", output)
        traffic, supervisors = _split_family(process.pid, definition)
        for pid in supervisors:
            processes.pin(pid, set(cores.load))
        try:
            yield Target(definition.name, port, traffic, supervisors)
        except OSError:  # Most likely a process that ended under the load: it may have said why.
            sys.stderr.write(_tail(output))
            raise


def verify(target: Target, body_sizes: Sequence[int], forwarded_headers: Sequence[str]) -> None:
    """Raises when the peer's answers, or what it forwards, are not what is being compared."""
    for size in body_sizes:
        status, body = fetch(target.port, body_path(size))
        if status != 200 or body != bytes(index % 251 for index in range(size)):
            raise SystemExit(f"{target.name}: wrong answer for {size} bytes (status {status})")
    request_line, *fields = fetch(target.port, "/b/echo")[1].decode("latin-1").split("\r\n")
    if request_line != "GET /b/echo HTTP/1.1":
        raise SystemExit(f"{target.name} forwarded {request_line!r}")
    names = {field.partition(":")[0].lower() for field in fields}
    missing = [header for header in forwarded_headers if header.lower() not in names]
    if missing:
        raise SystemExit(f"{target.name} does not add {', '.join(missing)}")
    if fetch(target.port, NOT_ROUTED)[0] != 404:
        raise SystemExit(f"{target.name} does not answer 404 to what is not routed")


def version(definition: PeerDefinition) -> str:
    """The peer's own account of its version: the first dotted number that it prints."""
    command = [processes.find_program(definition.version[0]), *definition.version[1:]]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    words = (printed.stdout + printed.stderr).replace("/", " ").split()
    return next((word for word in words if word[0].isdigit() and "." in word), "unknown")


def _is_newer(program: Path, source: Path) -> bool:
    return program.exists() and program.stat().st_mtime >= source.stat().st_mtime


def _wait_until_serving(
    process: subprocess.Popen[bytes], port: int, path: str, output: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if fetch(port, path)[0] == 200:
                return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} did not serve {path}:\n{_tail(output)}")


def _tail(output: Path) -> str:
    return output.read_text(errors="replace")[-4000:]


def _split_family(pid: int, definition: PeerDefinition) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The processes that carry traffic, and the rest of the peer's."""
    family = [pid, *processes.descendants(pid)]
    if definition.traffic is None:
        return tuple(family), ()
    traffic = [member for member in family if definition.traffic in processes.command_line(member)]
    if not traffic:
        raise SystemExit(f"{definition.name}: no process has {definition.traffic!r} in its command")
    return tuple(traffic), tuple(member for member in family if member not in traffic)
