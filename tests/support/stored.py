"""A gateway with a store, run as users run it, and its admin API."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.gateway import free_port, process_tree

START_SECONDS = 60.0


class Reply(NamedTuple):
    """An answer with its JSON."""

    status: int
    headers: dict[str, str]
    body: Any


class StoredGateway:
    """`gatewayx serve --store` in a folder; `token` is the printed one."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        store: str = "sqlite:///gatewayx.db",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port, self.admin_port = free_port(), free_port()
        self.token = ""
        self._arguments = (
            *("--store", store, "--workers", "1"),
            *("--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin_port}"),
            *arguments,
        )
        self._environ = {**os.environ, **(environ or {})}
        self._environ.pop("GATEWAYX_ADMIN_TOKEN", None)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> StoredGateway:
        with (self.folder / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gatewayx", "serve", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environ,
                cwd=self.folder,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the gateway did not become ready: {self.output()}")
            time.sleep(0.02)
        found = re.search(r"not shown again\): (\S+)", self.output())
        self.token = found[1] if found else self.token
        return self

    def output(self) -> str:
        return (self.folder / "output.txt").read_text(errors="replace")

    def _is_ready(self) -> bool:
        try:
            return self.ask("GET", "/ready").status == 200
        except OSError:
            return False

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
        seconds: float = 60.0,
    ) -> Reply:
        """One request to the admin API with the printed token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=seconds)
        offered = self.token if token is None else token
        fields = {"Authorization": f"Bearer {offered}", **(headers or {})}
        data = None
        if body is not None:
            data = json.dumps(body)
            fields["Content-Type"] = "application/json"
        try:
            connection.request(method, path, data, fields)
            response = connection.getresponse()
            text = response.read()
            names = {name.lower(): value for name, value in response.getheaders()}
            is_json = names.get("content-type", "").startswith("application/json")
            return Reply(response.status, names, json.loads(text) if is_json else text)
        finally:
            connection.close()

    def call(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """One request through the gateway."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL, workers first seen included."""
        assert self.process is not None
        for pid in [self.process.pid, *process_tree(self.process.pid)[1:]]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


@contextmanager
def stored_gateway(folder: Path, *arguments: str, **options: Any) -> Iterator[StoredGateway]:
    """A gateway that has started, until the end of the block."""
    gateway = StoredGateway(folder, *arguments, **options)
    try:
        yield gateway.start()
    finally:
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.stop()
            gateway.kill()
