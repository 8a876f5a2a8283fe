"""What a thousand proxies cost: start, reload, scrape, and a request beside one with one proxy.

`python -m benchmarks.proxies [COUNT]` runs the gateway on loopback and prints the figures. They
only mean something on a machine that does nothing else, with the extension built for speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tests.support.gateway import GatewayProcess, free_port

SCRAPES_COUNT = 10
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


class Answering(asyncio.Protocol):
    """Answers whatever comes with two bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def answer(port: int) -> None:
    """Serve until the process is ended."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(serve())


@contextlib.contextmanager
def answering() -> Iterator[str]:
    """An upstream in a process of its own."""
    port = free_port()
    process = multiprocessing.Process(target=answer, args=(port,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


def configuration(count: int, upstream: str) -> dict[str, Any]:
    """So many proxies, the last one named and placed as the first one of any other count."""
    names = [f"p{number}" for number in range(count - 1)] + ["last"]
    proxies = [{"name": name, "path": f"/{name}", "upstream": upstream} for name in names]
    return {"proxies": proxies, "access_log": {"enabled": False}}


def measure(count: int, upstream: str) -> dict[str, float]:
    """Milliseconds, and microseconds of a worker's CPU for a request."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        gateway = GatewayProcess(Path(folder), configuration(count, upstream))
        begun = time.perf_counter()
        with gateway:
            found["start_ms"] = 1000 * (time.perf_counter() - begun)
            text = yaml.safe_dump(gateway.config, sort_keys=False)
            gateway.config_path.write_text(text.replace("/p0", "/changed"))
            begun = time.perf_counter()
            status, answer = gateway.admin("POST", "/api/gateway/reload")
            assert status == 200, answer
            found["reload_ms"] = 1000 * (time.perf_counter() - begun)
            times = []
            cpu = cpu_seconds(gateway.pid)
            for _ in range(SCRAPES_COUNT):
                begun = time.perf_counter()
                assert gateway.admin("GET", "/stats/prometheus")[0] == 200
                times.append(1000 * (time.perf_counter() - begun))
            found["scrape_ms"] = statistics.median(times)
            found["scrape_cpu_ms"] = 1000 * (cpu_seconds(gateway.pid) - cpu) / SCRAPES_COUNT
            (worker,) = gateway.worker_pids()
            cpu = cpu_seconds(worker)
            url = f"http://127.0.0.1:{gateway.port}/last/"
            command = ["wrk", "-t1", "-c16", "-d5s", url]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            requests = int(done.stdout.partition(" requests in")[0].split()[-1])
            found["request_cpu_us"] = 1e6 * (cpu_seconds(worker) - cpu) / requests
    return found


def main(count: int) -> None:
    """Print both columns."""
    with answering() as upstream:
        one, many = measure(1, upstream), measure(count, upstream)
    print(f"{'':16}{1:>10}{count:>10}")
    for name in one:
        print(f"{name:16}{one[name]:>10.2f}{many[name]:>10.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
