"""The commands against a gateway that really runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from gatewayx.cli.route import explain
from gatewayx.config import ProxyConfig
from tests.support.stored import StoredGateway, stored_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredGateway]:
    with stored_gateway(tmp_path_factory.mktemp("cli")) as gateway:
        yield gateway


class Shell:
    """Runs commands as a user would who has written cli.yaml."""

    def __init__(self, home: Path, gateway: StoredGateway) -> None:
        self.home = home
        folder = home / ".config" / "gatewayx"
        folder.mkdir(parents=True)
        kept = {"admin": f"127.0.0.1:{gateway.admin_port}", "token": gateway.token}
        (folder / "cli.yaml").write_text(yaml.safe_dump(kept))
        removed = {"GATEWAYX_ADMIN", "GATEWAYX_ADMIN_TOKEN", "XDG_CONFIG_HOME"}
        self.environ = {key: value for key, value in os.environ.items() if key not in removed}
        self.environ["HOME"] = str(home)

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gatewayx", *arguments],
            input=text,
            capture_output=True,
            text=True,
            env=self.environ,
            cwd=self.home,
            timeout=60,
            check=False,
        )

    def done(self, *arguments: str, text: str = "") -> str:
        found = self.run(*arguments, text=text)
        assert (found.returncode, found.stderr) == (0, ""), found
        return found.stdout


@pytest.fixture
def shell(tmp_path: Path, gateway: StoredGateway) -> Shell:
    return Shell(tmp_path, gateway)


def test_a_proxy_from_first_to_last(shell: Shell) -> None:
    file = shell.home / "proxy.yaml"
    file.write_text("{name: one, path: /one, upstream: 'http://127.0.0.1:1', headers: {X-K: hid}}")
    assert shell.done("proxy", "apply", "-f", str(file), "--dry-run") == (
        "one: valid, nothing changed\n"
    )
    assert shell.done("proxy", "apply", "-f", str(file)) == "one: created, version 1\n"
    again = {"proxies": [{"name": "one", "path": "/two", "upstream": "http://127.0.0.1:1"}]}
    applied = shell.done("proxy", "apply", "-f", "-", "--if-version", "1", text=json.dumps(again))
    assert applied == "one: replaced, version 2\n"
    lost = shell.run("proxy", "apply", "-f", str(file), "--if-version", "1")
    assert (lost.returncode, lost.stderr) == (
        1,
        "gatewayx: Precondition Failed: proxy 'one' has version 2\n",
    )
    listed = shell.done("proxy", "list").splitlines()
    assert listed[0].split() == ["NAME", "SOURCE", "VERSION", "HOST", "PATH", "UPSTREAM", "STATE"]
    cells = ["one", "store", "2", "any", "/two", "http://127.0.0.1:1", "in force"]
    assert re.split("  +", listed[1]) == cells
    assert shell.done("proxy", "rollback", "one", "--to", "1") == (
        "one: version 1 is back as version 3\n"
    )
    shown = yaml.safe_load(shell.done("proxy", "get", "one", "-o", "yaml"))
    assert (shown["version"], shown["proxy"]["path"]) == (3, "/one")
    history = json.loads(shell.done("proxy", "history", "one", "-o", "json"))["history"]
    assert [entry["version"] for entry in history] == [3, 2, 1]
    assert "hid" not in shell.done("proxy", "history", "one", "-o", "json")
    assert "gwx_" not in shell.done("config", "dump")
    assert shell.done("stats").splitlines()[1].split()[0] == "one"
    assert shell.done("proxy", "delete", "one") == "one: deleted\n"
    missing = shell.run("proxy", "get", "one")
    assert missing.returncode == 1
    assert "there is no proxy one" in missing.stderr


def test_every_fault_of_a_proxy_is_printed_with_its_place(shell: Shell) -> None:
    bad = "{name: x, upstream: 'http://a', timeout: {dial: -1}, pth: /}"
    found = shell.run("proxy", "apply", "-f", "-", text=bad)
    assert found.returncode == 2
    assert "timeout.dial: " in found.stderr
    assert "pth: unknown key; did you mean path?" in found.stderr


def test_tokens_and_secrets(shell: Shell) -> None:
    made = json.loads(
        shell.done("token", "create", "ci", "--claim", "team=red", "--days", "2", "-o", "json")
    )
    assert made["token"].startswith(f"gwx_{made['id']}_")
    assert made["claims"] == {"team": "red"}
    listed = shell.done("token", "list")
    assert made["id"] in listed
    assert made["token"] not in listed
    assert shell.done("token", "revoke", made["id"]) == f"{made['id']}: revoked\n"
    assert made["id"] not in shell.done("token", "list")
    assert shell.done("secret", "set", "KEY", text="hidden-word\n") == "KEY: set\n"
    assert "hidden-word" not in shell.done("secret", "list")
    assert shell.done("secret", "list").splitlines()[1].startswith("KEY ")
    assert shell.done("secret", "delete", "KEY") == "KEY: deleted\n"


def test_a_gateway_that_is_away_is_one_clear_line(shell: Shell) -> None:
    found = shell.run("proxy", "list", "--admin", "127.0.0.1:1")
    assert found.returncode == 1
    assert found.stderr == (
        "gatewayx: no gateway answers at 127.0.0.1:1: [Errno 111] Connection refused\n"
    )


def test_without_a_token_nothing_is_asked(shell: Shell) -> None:
    (shell.home / ".config/gatewayx/cli.yaml").unlink()
    found = shell.run("proxy", "list")
    assert found.returncode == 2
    assert "no token: give --token, set GATEWAYX_ADMIN_TOKEN, or write it into" in found.stderr
    wrong = shell.run("proxy", "list", "--token", "x", "--admin", "127.0.0.1:1")
    assert wrong.returncode == 1


def test_schema_and_completion_need_no_gateway(shell: Shell) -> None:
    schema = json.loads(shell.done("config", "schema"))
    assert "proxies" in schema["properties"]
    assert "_GATEWAYX_COMPLETE" in shell.done("completion", "bash")


def test_route_explain_says_what_the_gateway_does(shell: Shell, gateway: StoredGateway) -> None:
    proxies = [
        {"name": "root", "path": "/", "upstream": "http://127.0.0.1:1"},
        {"name": "api", "path": "/api", "upstream": "http://127.0.0.1:1"},
        {"name": "host", "path": "/api", "host": "a.test", "upstream": "http://127.0.0.1:1"},
        {"name": "off", "path": "/off", "active": False, "upstream": "http://127.0.0.1:1"},
    ]
    shell.done("proxy", "apply", "-f", "-", text=json.dumps(proxies))
    cases = {
        ("localhost", "/api/x"): "api",
        ("localhost", "/apix"): "root",
        ("a.test", "/api"): "host",
        ("a.test", "/x"): "root",
        ("localhost", "/off/x"): "root",
    }
    for (host, path), name in cases.items():
        found = shell.run("route", "explain", "GET", f"http://{host}{path}?q", "-o", "json")
        answer = json.loads(found.stdout)
        assert (answer["proxy"], found.returncode) == (name, 0 if name else 1)
        before = gateway.ask("GET", "/api/gateway/states").body["proxies"]
        gateway.call(path, {"Host": host})
        after = gateway.ask("GET", "/api/gateway/states").body["proxies"]
        served = [key for key in after if after[key]["requests"] > before[key]["requests"]]
        assert served == ([name] if name else []), (host, path)
    shown = shell.done("route", "explain", "get", "/api/x")
    assert "forwards     GET http://127.0.0.1:1/x" in shown


def test_explain_without_any_proxy() -> None:
    answer = explain([], "GET", urlsplit("http://a/b"))
    assert answer == {"proxy": None, "why": ["no proxy matches a/b: 404, no_route"]}
    named = ProxyConfig(name="a", upstream="http://u/base", strip_path=False, path="/p")
    told = explain([named.model_dump(mode="json")], "POST", urlsplit("http://a/p/q?x=1"))
    assert told["requests"] == ["POST http://u/base/p/q?x=1"]
