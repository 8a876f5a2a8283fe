"""A gateway that really runs: `python -m gatewayx serve` on loopback ports of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.systemd import activation

START_SECONDS = 30.0
STOP_SECONDS = 20.0
ADMIN_TOKEN = "a-token-for-the-tests-only"


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Samples:
    """One scrape: `(name, labels, value)` each."""

    def __init__(self, samples: list[tuple[str, dict[str, str], float]]) -> None:
        self.samples = samples

    def total(self, name: str, **labels: str) -> float:
        """Sum of every sample of that name whose labels include the given ones."""
        wanted = labels.items()
        return sum(
            value
            for sample, found, value in self.samples
            if sample == name and wanted <= found.items()
        )

    def __contains__(self, name: str) -> bool:
        return any(sample == name for sample, _, _ in self.samples)


def samples_of_text(text: str) -> Samples:
    """What an exposition says."""
    return Samples(
        [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]
    )


def samples_of_families(families: Iterable[tuple[Any, ...]]) -> Samples:
    """What `Gateway.metrics()` gives, under the names of an exposition."""
    samples: list[tuple[str, dict[str, str], float]] = []
    for name, kind, _, label_names, points, bounds in families:
        for label_values, *point in points:
            labels = dict(zip(label_names, label_values, strict=True))
            if kind == "histogram":
                counts, sum_seconds = point
                steps = [*(str(bound) for bound in bounds), "+Inf"]
                samples += [
                    (f"{name}_bucket", {**labels, "le": step}, count)
                    for step, count in zip(steps, counts, strict=True)
                ]
                samples.append((f"{name}_count", labels, counts[-1]))
                samples.append((f"{name}_sum", labels, sum_seconds))
            else:
                samples.append((name + ("_total" if kind == "counter" else ""), labels, point[0]))
    return Samples(samples)


def process_tree(pid: int) -> list[int]:
    """A process and everything below it."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [pid, *(found for child in text.split() for found in process_tree(int(child)))]


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


class GatewayProcess:
    """`gatewayx serve` with a configuration; `port` is where callers connect."""

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self.admin_port = free_port()
        self.log_path = directory / "access.log"
        self.config: dict[str, Any] = {
            "listeners": [{"address": f"127.0.0.1:{self.port}"}],
            "admin": {"address": f"127.0.0.1:{self.admin_port}"},
            "workers": 1,
            "access_log": {"enabled": True, "path": str(self.log_path)},
            **config,
        }
        self.config_path = directory / "gateway.yaml"
        self._environ = {**os.environ, "GATEWAYX_ADMIN_TOKEN": ADMIN_TOKEN, **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.inherited: list[socket.socket] = []
        """Listening sockets to pass on as systemd does."""

    # --- life -------------------------------------------------------------------------------------

    def start(self) -> GatewayProcess:
        self.config_path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        program, fds = activation(self.inherited) if self.inherited else ([sys.executable], [])
        with (self.directory / "output.txt").open("ab") as output:
            self._process = subprocess.Popen(
                [*program, "-m", "gatewayx", "serve", "-c", str(self.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environ,
                cwd=self.directory,
                pass_fds=fds,
            )
        for fd in fds:
            os.close(fd)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"the gateway ended: {self.output()}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the gateway did not become ready: {self.output()}")
            time.sleep(0.02)
        return self

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                pass
            return self.admin("GET", "/ready")[0] == 200
        except OSError:
            return False

    def stop(self) -> int:
        """SIGTERM, then the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: int) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        for pid in reversed(process_tree(self._process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()

    def __enter__(self) -> GatewayProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.kill()

    # --- what it says -----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def worker_pids(self) -> list[int]:
        """Processes under the supervisor."""
        return process_tree(self.pid)[1:]

    def output(self) -> str:
        path = self.directory / "output.txt"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def admin(self, method: str, path: str) -> tuple[int, bytes]:
        """A request to the admin listener, with the superuser's token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def metrics(self) -> Samples:
        status, body = self.admin("GET", "/stats/prometheus")
        assert status == 200, body
        return samples_of_text(body.decode())

    def access_log(self, *, lines: int = 0, seconds: float = 5.0) -> list[dict[str, Any]]:
        """Every line of the access log, once there are at least so many."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.log_path.read_text() if self.log_path.exists() else ""
            records = [
                json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"
            ]
            if len(records) >= lines or time.monotonic() > deadline:
                return records
            time.sleep(0.02)
