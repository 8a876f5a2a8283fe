"""A gateway that is configured while it runs, and remembers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.stored import StoredGateway, stored_gateway

PROXIES = "/api/gateway/proxies"
SECRET = "never-to-be-seen-again"


class Echo(BaseHTTPRequestHandler):
    """Answers with the X-Key that came."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.headers.get("X-Key", "none").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def document(upstream: str, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "path": f"/{name}", "upstream": upstream, **more}


def test_from_an_empty_folder(tmp_path: Path, upstream: str) -> None:
    with stored_gateway(tmp_path) as gateway:
        assert gateway.call("/a/")[0] == 404
        made = gateway.ask("POST", PROXIES, document(upstream, headers={"X-Key": SECRET}))
        assert (made.status, made.headers["etag"]) == (201, '"1"')
        assert gateway.call("/a/") == (200, SECRET.encode())
        gateway.ask("PUT", f"{PROXIES}/b", document(upstream, "b"))
        changed = gateway.ask("PUT", f"{PROXIES}/a", document(upstream, headers={"X-Key": "new"}))
        assert (changed.status, changed.headers["etag"]) == (200, '"2"')
        assert gateway.call("/a/") == (200, b"new")
        back = gateway.ask("POST", f"{PROXIES}/a/rollback", {"version": 1})
        assert (back.status, back.headers["etag"]) == (200, '"3"')
        assert gateway.call("/a/") == (200, SECRET.encode())
        history = gateway.ask("GET", f"{PROXIES}/a/history").body["history"]
        assert [entry["version"] for entry in history] == [3, 2, 1]
        assert gateway.ask("DELETE", f"{PROXIES}/a").status == 204
        assert gateway.call("/a/")[0] == 404
        token = gateway.token
        assert gateway.stop() == 0
    with stored_gateway(tmp_path) as again:
        assert again.output().count(token) == 1
        assert again.call("/b/") == (200, b"none")
        assert again.call("/a/")[0] == 404
        assert [
            entry["name"] for entry in again.ask("GET", PROXIES, token=token).body["proxies"]
        ] == ["b"]
        for refused in ("", token[:-1] + "_", "gwx_aaaaaaaaaaaa_" + "A" * 43):
            assert again.ask("GET", PROXIES, token=refused).status == 401


def test_a_change_under_load_fails_no_request(tmp_path: Path, upstream: str) -> None:
    with stored_gateway(tmp_path) as gateway:
        gateway.ask("POST", PROXIES, document(upstream))
        stop = threading.Event()

        def call() -> list[int]:
            statuses = []
            while not stop.is_set():
                statuses.append(gateway.call("/a/")[0])
            return statuses

        with ThreadPoolExecutor(4) as pool:
            callers = [pool.submit(call) for _ in range(4)]
            for number in range(20):
                form = document(upstream, max_concurrent=100 + number)
                assert gateway.ask("PUT", f"{PROXIES}/a", form).status == 200
            stop.set()
            statuses = [status for caller in callers for status in caller.result()]
        assert len(statuses) >= 20
        assert set(statuses) == {200}


def test_a_lost_update_is_412_and_a_second_create_409(tmp_path: Path, upstream: str) -> None:
    with stored_gateway(tmp_path) as gateway:
        first = gateway.ask("POST", PROXIES, document(upstream))
        tag = {"If-Match": first.headers["etag"]}
        assert gateway.ask("POST", PROXIES, document(upstream)).status == 409
        only_new = gateway.ask("PUT", f"{PROXIES}/a", document(upstream), {"If-None-Match": "*"})
        assert only_new.status == 412
        assert gateway.ask("PUT", f"{PROXIES}/a", document(upstream), tag).status == 200
        lost = gateway.ask("PUT", f"{PROXIES}/a", document(upstream, active=False), tag)
        assert (lost.status, lost.body["version"]) == (412, 2)
        assert gateway.ask("DELETE", f"{PROXIES}/a", headers=tag).status == 412
        assert gateway.ask("DELETE", f"{PROXIES}/a", headers={"If-Match": "rubbish"}).status == 412


def test_a_dry_run_checks_everything_and_changes_nothing(tmp_path: Path, upstream: str) -> None:
    with stored_gateway(tmp_path) as gateway:
        assert gateway.ask("POST", f"{PROXIES}?dry_run=true", document(upstream)).status == 200
        assert gateway.ask("GET", f"{PROXIES}/a").status == 404
        gateway.ask("POST", PROXIES, document(upstream))
        clash = document(upstream, "b", path="/a")
        for query in ("?dry_run=true", ""):
            refused = gateway.ask("POST", PROXIES + query, clash)
            assert refused.status == 422
            assert refused.body["faults"][0]["path"] == "path"


def test_every_fault_has_its_path(tmp_path: Path) -> None:
    with stored_gateway(tmp_path) as gateway:
        form = {"name": "a", "pth": "/", "upstream": "ftp://x", "timeout": {"dial": -1}}
        refused = gateway.ask("PUT", f"{PROXIES}/a", form)
        assert refused.status == 422
        assert {fault["path"] for fault in refused.body["faults"]} == {
            "pth",
            "upstream",
            "timeout.dial",
        }
        mismatch = gateway.ask("PUT", f"{PROXIES}/b", {"name": "a", "upstream": "http://x"})
        assert (mismatch.status, mismatch.body["faults"][0]["path"]) == (422, "name")


def test_what_is_hidden_and_comes_back_is_kept(tmp_path: Path, upstream: str) -> None:
    with stored_gateway(tmp_path) as gateway:
        gateway.ask("POST", PROXIES, document(upstream, headers={"X-Key": SECRET}))
        shown = gateway.ask("GET", f"{PROXIES}/a").body["proxy"]
        assert shown["headers"] == {"X-Key": "[redacted]"}
        assert gateway.ask("PUT", f"{PROXIES}/a", {**shown, "retry_after": 3}).status == 200
        assert gateway.call("/a/") == (200, SECRET.encode())


def test_the_file_wins_and_what_is_left_out_is_told(tmp_path: Path, upstream: str) -> None:
    with stored_gateway(tmp_path) as gateway:
        gateway.ask("POST", PROXIES, document(upstream))
        gateway.ask("POST", PROXIES, document(upstream, "b"))
        gateway.ask("POST", PROXIES, document(upstream, "c"))
        token = gateway.token
        assert gateway.stop() == 0
    file = tmp_path / "gateway.yaml"
    file.write_text(
        f"proxies: [{{name: a, path: /x, upstream: '{upstream}'}},"
        f" {{name: z, path: /b, upstream: '{upstream}'}}]"
    )
    with stored_gateway(tmp_path, "-c", str(file)) as gateway:
        gateway.token = token
        assert [gateway.call(path)[0] for path in ("/x/", "/a/", "/b/", "/c/")] == [
            200,
            404,
            200,
            200,
        ]
        entries = gateway.ask("GET", PROXIES).body["proxies"]
        assert [(entry["name"], entry["source"], entry["in_force"]) for entry in entries] == [
            ("a", "file", True),
            ("z", "file", True),
            ("a", "store", False),
            ("b", "store", False),
            ("c", "store", True),
        ]
        left_out = gateway.ask("GET", "/config_dump").body["left_out"]
        assert [(entry["name"], entry["faults"][0]["path"]) for entry in left_out] == [
            ("a", "name"),
            ("b", "path"),
        ]
        assert "stored proxy a is left out" in gateway.output()
        for method, path in (("PUT", f"{PROXIES}/a"), ("POST", PROXIES)):
            refused = gateway.ask(method, path, document(upstream))
            assert (refused.status, refused.body["faults"][0]["path"]) == (422, "name")
        file.write_text("proxies: []")
        assert gateway.ask("POST", "/api/gateway/reload").status == 200
        assert [gateway.call(path)[0] for path in ("/x/", "/a/", "/b/")] == [404, 200, 200]


def test_a_row_of_another_version_is_left_out(tmp_path: Path, upstream: str) -> None:
    from gatewayx.store import Store

    store = Store.open(f"sqlite:///{tmp_path}/gatewayx.db", environ={})
    store.proxies.put("new", document(upstream, "new", of_a_later_version=1), "me")
    store.proxies.put("ok", document(upstream, "ok"), "me")
    store.close()
    with stored_gateway(tmp_path) as gateway:
        assert gateway.call("/ok/")[0] == 200
        assert gateway.call("/new/")[0] == 404
        entry = gateway.ask("GET", f"{PROXIES}/new").body
        assert (entry["in_force"], entry["faults"][0]["path"]) == (False, "of_a_later_version")


def test_a_deleted_proxy_leaves_no_breaker_behind(tmp_path: Path) -> None:
    broken = document(
        "http://127.0.0.1:1", circuit_breaker={"enabled": True, "failure_threshold": 1}
    )
    with stored_gateway(tmp_path) as gateway:
        gateway.ask("POST", PROXIES, broken)
        assert gateway.call("/a/")[0] == 502
        assert gateway.call("/a/")[0] == 503
        assert gateway.ask("GET", f"{PROXIES}/a/state").body["breaker"] == "open"
        gateway.ask("DELETE", f"{PROXIES}/a")
        gateway.ask("POST", PROXIES, broken)
        state = gateway.ask("GET", f"{PROXIES}/a/state").body
        assert (state["breaker"], state["requests"]) == ("closed", 0)
        assert gateway.call("/a/")[0] == 502


def test_no_secret_is_anywhere(tmp_path: Path, upstream: str) -> None:
    with stored_gateway(tmp_path) as gateway:
        gateway.ask("PUT", "/api/gateway/secrets/KEY", {"value": SECRET})
        gateway.ask("POST", PROXIES, document(upstream, headers={"X-Key": SECRET}))
        gateway.ask(
            "PUT", f"{PROXIES}/a", document(upstream, headers={"X-Key": SECRET, "b d": "x"})
        )
        gateway.ask("PUT", "/api/gateway/secrets/KEY", {"value": [SECRET]})
        made = gateway.ask("POST", "/api/gateway/tokens", {"label": "ci", "superuser": True})
        assert gateway.ask("GET", PROXIES, token=made.body["token"]).status == 200
        gateway.call("/a/")
        pages = [
            *(PROXIES, f"{PROXIES}/a", f"{PROXIES}/a/history", f"{PROXIES}/a/state"),
            *("/api/gateway/secrets", "/api/gateway/tokens", "/api/gateway/audit"),
            *("/config_dump", "/stats", "/stats/prometheus", "/openapi.json", "/docs"),
            *("/api/gateway/states", "/api/gateway/events?count=1"),
        ]
        shown = {page: str(gateway.ask("GET", page)) for page in pages}
        assert [
            entry["name"] for entry in gateway.ask("GET", "/api/gateway/secrets").body["secrets"]
        ] == ["KEY"]
        gateway.stop()
    kept = {
        file.name: file.read_bytes().decode("latin-1")
        for file in tmp_path.iterdir()
        if file.name != "gatewayx.db.key"
    }
    printed = kept["output.txt"].replace(gateway.token, "", 1)
    for place, text in {**shown, **kept, "output.txt": printed}.items():
        for secret in (SECRET, gateway.token, made.body["token"]):
            assert secret not in text, place


def test_guessing_locks_the_address_out(tmp_path: Path) -> None:
    with stored_gateway(tmp_path) as gateway:
        statuses = [gateway.ask("GET", PROXIES, token=f"guess{n}").status for n in range(11)]
        assert statuses == [401] * 10 + [429]
        locked = gateway.ask("GET", PROXIES)
        assert locked.status == 429
        assert int(locked.headers["retry-after"]) in range(1, 61)
        assert gateway.ask("GET", "/healthz").status == 200


def test_strange_hosts_and_origins_are_refused(tmp_path: Path) -> None:
    with stored_gateway(tmp_path) as gateway:
        for headers, status in (
            ({"Host": "evil.example"}, 421),
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Host": f"localhost:{gateway.admin_port}"}, 200),
            ({"Origin": f"http://127.0.0.1:{gateway.admin_port}"}, 200),
        ):
            assert gateway.ask("GET", PROXIES, headers=headers).status == status, headers


def test_drain_ends_the_gateway(tmp_path: Path) -> None:
    with stored_gateway(tmp_path) as gateway:
        assert gateway.ask("POST", "/api/gateway/drain").status == 202
        assert gateway.process is not None
        assert gateway.process.wait(30) == 0


def test_a_wrong_key_is_one_line(tmp_path: Path) -> None:
    with stored_gateway(tmp_path):
        pass
    (tmp_path / "gatewayx.db.key").write_text("x" * 40)
    with pytest.raises(RuntimeError, match="the key is not the one that this store was made with"):
        StoredGateway(tmp_path).start()


def test_secrets_and_tokens_of_the_store_serve_callers(tmp_path: Path, upstream: str) -> None:
    with stored_gateway(tmp_path) as gateway:
        form = document(
            upstream,
            headers={"X-Key": "{secret.KEY}"},
            access_rule="@request.auth.team = 'red'",
        )
        refused = gateway.ask("POST", PROXIES, form)
        assert (refused.status, refused.body["faults"][0]["path"]) == (422, "headers.X-Key")
        assert gateway.ask("PUT", "/api/gateway/secrets/KEY", {"value": "one"}).status == 204
        assert gateway.ask("POST", PROXIES, form).status == 201
        tokens = {
            team: gateway.ask(
                "POST", "/api/gateway/tokens", {"label": team, "claims": {"team": team}}
            ).body
            for team in ("red", "blue")
        }

        def call(text: str) -> tuple[int, bytes]:
            return gateway.call("/a/", {"Authorization": f"Bearer {text}"})

        assert gateway.call("/a/")[0] == 401
        assert call(tokens["blue"]["token"])[0] == 403
        assert call(tokens["red"]["token"]) == (200, b"one")
        assert gateway.ask("GET", PROXIES, token=tokens["red"]["token"]).status == 401
        gateway.ask("PUT", "/api/gateway/secrets/KEY", {"value": "two"})
        assert call(tokens["red"]["token"]) == (200, b"two")
        gateway.ask("DELETE", f"/api/gateway/tokens/{tokens['red']['id']}")
        assert call(tokens["red"]["token"])[0] == 401
