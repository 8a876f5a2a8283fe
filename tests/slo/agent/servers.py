"""Real HTTP servers for the agent's tests: a collector, a master, a Kubernetes API."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    """What a server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What it answers. `cut` closes the connection after that many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class Server:
    """A threaded HTTP server on a port of its own that answers as a function says."""

    def __init__(self, answer: Callable[[Request], Reply], port: int = 0) -> None:
        self.requests: list[Request] = []
        self.answer = answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, dict(self.headers), body)
                reply = outer.answer(request)
                outer.requests.append(request)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body[: reply.cut])
                if reply.cut is not None:
                    self.close_connection = True

            do_GET = do_POST = _handle

            def log_message(self, *_: object) -> None:
                pass

        class QuietServer(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Peers that die in the middle are what some tests are about."""

        self._server = QuietServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def eventually(condition: Callable[[], object], patience_s: float = 60.0) -> None:
    """Returns once `condition` holds; only a test that would never end is given up."""
    for _ in range(int(patience_s / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class RecordingMaster:
    """Stores snapshots as the contract says: (agent_id, seq) once, repeats are harmless."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, int], dict] = {}
        self.repeats = 0
        self.failing: Reply | None = None
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Reply:
        """Takes a posted snapshot, or fails as told."""
        if self.failing is not None:
            return self.failing
        snapshot = json.loads(request.body)
        key = (snapshot["agent_id"], snapshot["seq"])
        with self._lock:
            if key in self.stored:
                self.repeats += 1
                assert self.stored[key] == snapshot
            self.stored[key] = snapshot
        return Reply(202)

    def total(self, kind: str = "ingress") -> int:
        """Requests in everything that was stored."""
        with self._lock:
            snapshots = list(self.stored.values())
        return sum(
            request["delta"]
            for snapshot in snapshots
            for entry in snapshot[kind]
            for request in entry["requests"]
        )
