"""Other proxies, configured to do the same job, for differential tests.

Each forwards `/` to one upstream, sets `X-Forwarded-For` to the caller's address, keeps upstream
connections, refuses bodies above 16 MiB and has the deadlines that the hostile cases name.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from tests.support.gateway import GatewayProcess, free_port

BODY_MAX_BYTES = 16 * 1024 * 1024

_NGINX = """
daemon off; master_process off; user root; worker_processes 1; pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  client_header_timeout 5s; client_body_timeout 3s; send_timeout 5s; keepalive_timeout 10s;
  lingering_timeout 1s;
  keepalive_requests 100000;
  client_max_body_size 16m; large_client_header_buffers 8 16k;
  upstream sidecar {{ server 127.0.0.1:{upstream}; keepalive 100; keepalive_requests 100000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://sidecar; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host ""; proxy_set_header X-Real-IP "";
      proxy_set_header Proxy "";
      proxy_connect_timeout 2s; proxy_read_timeout 3s; proxy_send_timeout 3s;
    }}
  }}
}}
"""

_HAPROXY = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 2s
  timeout client 10s
  timeout server 3s
  timeout http-request 5s
  timeout http-keep-alive 10s
  option http-keep-alive
frontend callers
  bind 127.0.0.1:{port}
  http-request deny deny_status 413 if {{ req.hdr(content-length) -m len gt 8 }}
  http-request set-header X-Forwarded-For %[src]
  http-request del-header X-Forwarded-Host
  http-request del-header X-Forwarded-Proto
  http-request del-header X-Real-IP
  http-request del-header Proxy
  default_backend sidecar
backend sidecar
  http-reuse safe
  server one 127.0.0.1:{upstream}
"""

_ENVOY_API = "type.googleapis.com/envoy.extensions.filters"
_ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {api}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: callers
          codec_type: HTTP1
          use_remote_address: true
          request_headers_timeout: 5s
          stream_idle_timeout: 3s
          delayed_close_timeout: 0.1s
          common_http_protocol_options:
            idle_timeout: 10s
            headers_with_underscores_action: DROP_HEADER
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_remove: [x-forwarded-host, x-real-ip, proxy]
              request_headers_to_add:
              - header: {{key: x-forwarded-for, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
                append_action: OVERWRITE_IF_EXISTS_OR_ADD
              routes:
              - match:
                  prefix: /
                  headers:
                  - name: content-length
                    string_match: {{safe_regex: {{regex: "[1-9][0-9]{{8,}}"}}}}
                direct_response: {{status: 413}}
              - match: {{prefix: /}}
                route: {{cluster: sidecar, timeout: 3s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {api}.http.router.v3.Router}}
  clusters:
  - name: sidecar
    connect_timeout: 2s
    type: STATIC
    load_assignment:
      cluster_name: sidecar
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""

_CONFIGS = {"nginx": _NGINX, "haproxy": _HAPROXY, "envoy": _ENVOY}


class RunningProxy(Protocol):
    """What a differential test needs of a proxy."""

    port: int

    def kill(self) -> None: ...


def executable(name: str) -> str | None:
    """Where a peer is installed: on the path, in the sbin folders, or beside this interpreter."""
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return str(beside)
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


class PeerProcess:
    """nginx, HAProxy or Envoy in front of one upstream."""

    def __init__(self, name: str, directory: Path, upstream_port: int) -> None:
        path = executable(name)
        if path is None:
            raise FileNotFoundError(f"{name} is not installed")
        self.name = name
        self.port = free_port()
        config = directory / f"{name}.yaml" if name == "envoy" else directory / f"{name}.conf"
        config.write_text(
            _CONFIGS[name].format(
                dir=directory, port=self.port, upstream=upstream_port, api=_ENVOY_API
            )
        )
        command = {
            "nginx": [path, "-p", str(directory), "-c", str(config)],
            "haproxy": [path, "-db", "-q", "-f", str(config)],
            "envoy": [path, "-c", str(config), "--concurrency", "1", "--disable-hot-restart"],
        }[name]
        self._output = (directory / f"{name}.txt").open("wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            cwd=directory,
        )
        self._await_listener(directory / f"{name}.txt")

    def _await_listener(self, output: Path) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise RuntimeError(f"{self.name}: {output.read_text()[-2000:]}") from None
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._output.close()


def hostile_config(upstream_port: int, *, patient: bool) -> dict[str, object]:
    """The gateway's own configuration for the same job.

    What waits for a deadline gets the short ones that its case names. All else gets deadlines that
    a busy machine does not run into.
    """
    short, long = (15, 15) if patient else (3, 5)
    return {
        "access_log": {"enabled": False},
        "downstream": {
            "timeout": {
                "request_head": long,
                "request_body_idle": short,
                "keep_alive": 20,
                "write_idle": 15,
            },
        },
        "proxies": [
            {
                "name": "hostile",
                "path": "/",
                "upstream": f"http://127.0.0.1:{upstream_port}",
                "request_body_max": BODY_MAX_BYTES,
                "timeout": {"dial": 10, "response_header": short, "body_idle": short, "idle": 60},
            }
        ],
    }


def start_proxy(
    name: str, directory: Path, upstream_port: int, *, patient: bool = False
) -> RunningProxy:
    """Starts the gateway (`gatewayx`) or one of its peers in front of an upstream."""
    directory.mkdir(parents=True, exist_ok=True)
    if name == "gatewayx":
        return GatewayProcess(directory, hostile_config(upstream_port, patient=patient)).start()
    return PeerProcess(name, directory, upstream_port)
