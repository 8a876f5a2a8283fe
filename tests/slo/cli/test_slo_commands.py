"""The `slo` commands against a real master on loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
import yaml
from click.testing import CliRunner, Result

from gatewayx.slo.cli import slo_group
from gatewayx.slo.console import sparkline
from gatewayx.slo.demo import CLUSTER, ReplayClock, fill
from gatewayx.slo.generator import Day
from gatewayx.slo.master.app import create_app
from gatewayx.slo.master.configuration import SettingsError, is_loopback, parse_listen
from gatewayx.slo.master.faults import FaultWindow, open_window
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.reading import iso
from gatewayx.slo.master.settings import MasterSettings, system_clock
from gatewayx.slo.snapshot import SLOSnapshot

TOKEN = "reader-secret"


@pytest.fixture(scope="module")
def master_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A master filled with an hour of the demo's traffic, served on loopback."""
    store = tmp_path_factory.mktemp("slo") / "slo.db"
    clock = ReplayClock()
    settings = MasterSettings(
        store_url=f"sqlite:///{store}", clusters=(CLUSTER,), reader_token=TOKEN
    )
    now_ms = system_clock() // 60_000 * 60_000
    master = Master(settings, clock=clock)
    begin = SLOSnapshot.model_validate_json(
        json.dumps(
            dict.fromkeys(("timestamp", "interval_start", "interval_end"), iso(now_ms - 3_600_000))
            | {"cluster_id": CLUSTER, "agent_id": "a", "seq": 1}
        )
    ).timestamp
    fill(master, clock, Day(start=begin, duration_s=3600, interval_s=120, rate=3.0))
    with master.store.write() as conn:
        window = FaultWindow("abort-cart", "abort", "service", "shop/cart", now_ms - 600_000, None)
        open_window(conn, 1, window)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = uvicorn.Config(
        create_app(master, background=False), host="127.0.0.1", port=port, log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def run(*arguments: str, url: str | None = None, token: str = TOKEN) -> Result:
    where = ["--url", url, "--token", token] if url else []
    return CliRunner().invoke(slo_group, [*arguments, *where], env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["top", "--once"], "shop/cart"),
        (["topology"], "billing/payments"),
        (["service", "shop/web"], "shop/catalog"),
        (["domains"], "shop.example.com"),
        (["targets", "get"], "99.9 %"),
        (["budgets"], "shop/cart"),
        (["alerts"], "severity"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_tables_json_and_yaml_say_the_same(
    master_url: str, arguments: list[str], shown: str
) -> None:
    table = run(*arguments, url=master_url)
    assert table.exit_code == 0, table.output
    assert shown in table.output
    as_json = json.loads(run(*arguments, "-o", "json", url=master_url).output)
    as_yaml = yaml.safe_load(run(*arguments, "-o", "yaml", url=master_url).output)
    assert as_json.keys() == as_yaml.keys()
    key = next(key for key in as_json if isinstance(as_json[key], list))
    assert len(as_json[key]) == len(as_yaml[key])


def test_faults_are_shown_beside_what_they_cost(master_url: str) -> None:
    for command in (["topology"], ["service", "shop/cart"], ["budgets"]):
        assert "abort-cart" in run(*command, url=master_url).output


def test_a_target_is_set(master_url: str) -> None:
    done = run(
        "targets", "set", "shop/cart", "--availability", "99.5", "--p95", "80", url=master_url
    )
    assert done.exit_code == 0, done.output
    answer = json.loads(run("targets", "get", "-o", "json", url=master_url).output)
    (target,) = answer["targets"]
    assert (target["target_type"], target["availability_percent"], target["p95_ms"]) == (
        "service",
        99.5,
        80.0,
    )


@pytest.mark.parametrize("form", ["prometheus", "openslo"])
def test_rules_are_printed(master_url: str, form: str) -> None:
    text = run("rules", "--format", form, url=master_url).output
    documents = json.loads(run("rules", "--format", form, "-o", "json", url=master_url).output)
    assert documents == list(yaml.safe_load_all(text))


def test_what_goes_wrong_is_said(master_url: str) -> None:
    refused = run("topology", url=master_url, token="wrong")
    assert refused.exit_code == 1
    assert "401" in refused.output
    assert "404" in run("service", "no/where", url=master_url).output
    absent = run("budgets", url="http://127.0.0.1:1")
    assert absent.exit_code == 1
    assert "no answer" in absent.output
    assert run("service", "web", url=master_url).exit_code == 2
    assert run("targets", "set", "shop/web", url=master_url).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--listen", "nowhere"],
        ["--listen", "0.0.0.0:9911"],
        ["-c", "absent.yaml"],
    ],
)
def test_a_master_that_must_not_start_does_not(arguments: list[str]) -> None:
    assert run("master", *arguments).output.startswith("error: ")


def test_every_fault_of_a_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "master.yaml"
    path.write_text("retention: {fine_s: 5}\nsurprise: 1\n")
    output = run("master", "-c", str(path)).output
    assert "retention.fine_s" in output
    assert "surprise" in output


def test_the_demo_fills_a_master(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'demo.db'}"
    done = run("demo", "--no-serve", "--hours", "1", "--store", store)
    assert done.exit_code == 0, done.output
    assert "30 snapshots stored" in done.output


@pytest.mark.parametrize("address", ["", "host", "host:", ":80", "host:x", "host:70000"])
def test_bad_addresses_are_refused(address: str) -> None:
    with pytest.raises(SettingsError):
        parse_listen(address)


def test_loopback_is_recognised() -> None:
    assert [is_loopback(host) for host in ("127.0.0.9", "::1", "localhost", "0.0.0.0", "x")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_sparklines_leave_gaps() -> None:
    assert sparkline([0, 5, None, 10]) == "▁▅ █"
    assert sparkline([0, None]) == "▁ "
    assert sparkline([]) == ""
