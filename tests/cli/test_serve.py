"""`gatewayx serve` as its users run it: a real gateway in front of a real upstream."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gatewayx import __version__


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"you asked for {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Serving:
    """A running gateway, and what it said while it started."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        self.said = ""
        while "admin token" not in self.said and (line := process.stderr.readline()):
            self.said += line

    def found(self, pattern: str) -> str:
        match = re.search(pattern, self.said)
        assert match, self.said
        return match[1]

    def ask(self, where: str, path: str, **fields: str) -> tuple[int, str]:
        port = self.found(rf"{where} http://127\.0\.0\.1:(\d+)")
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
        try:
            connection.request("GET", path, headers=fields)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def stop(self) -> tuple[int, str, str]:
        """Exit status, standard output, and what else it said."""
        self.process.send_signal(signal.SIGTERM)
        output, errors = self.process.communicate(timeout=60)
        return self.process.returncode, output, errors


@contextmanager
def serving(*arguments: str) -> Iterator[Serving]:
    environ = {name: value for name, value in os.environ.items() if name != "GATEWAYX_ADMIN_TOKEN"}
    with subprocess.Popen(
        [sys.executable, "-m", "gatewayx", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    ) as process:
        try:
            yield Serving(process)
        finally:
            process.terminate()


def test_one_upstream_without_a_file(upstream: str) -> None:
    local = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--workers", "2")
    with serving("--upstream", upstream, *local) as gateway:
        assert gateway.ask("listening on", "/a/b?c=d") == (200, "you asked for /a/b?c=d")
        assert gateway.ask("admin on", "/ready")[0] == 200
        assert gateway.ask("admin on", "/api/gateway/metrics")[0] == 401

        token = gateway.found(r"admin token \(.*\): (\S+)")
        bearer = {"Authorization": f"Bearer {token}"}
        status, metrics = gateway.ask("admin on", "/api/gateway/metrics", **bearer)
        assert status == 200
        lines = metrics.splitlines()
        assert 'gateway_requests_total{proxy="default",status="200"} 1' in lines
        assert f'gateway_build_info{{version="{__version__}"}} 1.0' in lines

        stats = json.loads(gateway.ask("admin on", "/api/gateway/stats", **bearer)[1])
        assert [worker["state"] for worker in stats["workers"]] == ["serving", "serving"]
        requests = stats["metrics"]["gateway_requests_total"]["samples"]
        assert {"labels": {"proxy": "default", "status": "200"}, "value": 1} in requests

        status, output, errors = gateway.stop()
    assert status == 0
    (entry,) = map(json.loads, output.splitlines())
    assert (entry["path"], entry["status_code"]) == ("/a/b", 200)
    assert errors == ""


def test_options_stand_over_the_file(upstream: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        f"""\
listeners: [{{address: "192.0.2.1:1"}}]
admin: {{address: "192.0.2.1:2", insecure: true}}
workers: 1
access_log: {{path: "{tmp_path}/access.log"}}
proxies: [{{name: only, path: /only, upstream: "{upstream}"}}]
"""
    )
    local = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    with serving("-c", str(path), *local) as gateway:
        assert gateway.ask("listening on", "/only/x") == (200, "you asked for /x")
        assert gateway.ask("listening on", "/other")[0] == 404
        assert gateway.stop()[:2] == (0, "")
    entries = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [entry["status_code"] for entry in entries] == [200, 404]


def test_an_address_that_is_taken_is_status_1_and_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["--upstream", "http://127.0.0.1:1", "--listen", address]
        with serving(*arguments, "--admin", "127.0.0.1:0") as gateway:
            assert gateway.process.wait(60) == 1
            assert gateway.said == f"gatewayx: cannot listen on {address}: Address already in use\n"


def test_a_log_that_cannot_be_written_is_status_1_and_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("access_log: {path: /nowhere/access.log}\nproxies: []\n")
    with serving("-c", str(path), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0") as gateway:
        assert gateway.process.wait(60) == 1
        assert gateway.said.startswith("gatewayx: ")
        assert "/nowhere/access.log" in gateway.said
        assert gateway.said.count("\n") == 1
