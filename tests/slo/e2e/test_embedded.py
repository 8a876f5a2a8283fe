"""Service levels inside `gatewayx serve`: the API's totals are the gateway's own counters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayx.slo.master.domains import domains
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.plan import range_before
from gatewayx.slo.master.settings import MasterSettings
from tests.slo.agent.servers import Server
from tests.slo.e2e.processes import (
    ask,
    counts_of,
    drive,
    latencies_of,
    own_counts,
    own_latencies,
    proxies,
    upstream,
    wait_for,
)
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess

DOMAINS = "/api/v2/slo/domains/v2?time_range=1h"
REQUESTS = 120


@pytest.fixture(scope="module")
def upstream_url() -> Iterator[str]:
    with Server(upstream) as server:
        yield server.url


def gateway(directory: Path, upstream_url: str, **slo: object) -> GatewayProcess:
    config = {"workers": 2, "proxies": proxies(upstream_url), "slo": {"enabled": True, **slo}}
    return GatewayProcess(directory, config)


@pytest.fixture(scope="module")
def serving(
    tmp_path_factory: pytest.TempPathFactory, upstream_url: str
) -> Iterator[GatewayProcess]:
    """A gateway that looks at its counters ten times a second."""
    with gateway(tmp_path_factory.mktemp("gateway"), upstream_url, interval=0.1) as process:
        yield process


def answer(gateway: GatewayProcess, path: str = DOMAINS) -> Any:
    status, body = ask(gateway.admin_port, path, ADMIN_TOKEN)
    assert status == 200, body
    return body


def test_the_api_says_what_the_gateway_counted(serving: GatewayProcess) -> None:
    sent = drive([serving], REQUESTS)
    wait_for(lambda: counts_of(answer(serving)) == sent)
    assert own_counts([serving]) == sent
    assert latencies_of(answer(serving)) == own_latencies([serving])

    (domain,) = answer(serving)["domains"]
    assert domain["domain"] == "*"
    assert {entry["service_key"]: entry["paths"] for entry in domain["services"]} == {
        "shop": ["/shop"],
        "cart": ["/cart"],
    }
    target = {"target_type": "ingress", "target_key": "cart", "availability_percent": 50.0}
    assert ask(serving.admin_port, "/api/v2/slo/targets", ADMIN_TOKEN, "PUT", target)[0] == 200
    budgets = answer(serving, "/api/v2/slo/budgets")["budgets"]
    assert {budget["target"]: budget["availability_target_percent"] for budget in budgets} == {
        "shop": 99.9,
        "cart": 50.0,
    }


def test_a_proxy_that_goes_and_comes_back_is_counted_on(serving: GatewayProcess) -> None:
    expected = counts_of(answer(serving)) + drive([serving], REQUESTS)
    wait_for(lambda: counts_of(answer(serving)) == expected)
    for listed in (serving.config["proxies"][:1], serving.config["proxies"]):
        serving.config_path.write_text(yaml.safe_dump(serving.config | {"proxies": listed}))
        assert serving.admin("POST", "/api/gateway/reload")[0] == 200
    expected.update(drive([serving], 2 * REQUESTS))
    wait_for(lambda: counts_of(answer(serving)) == expected)


def test_only_the_superuser_may_ask(serving: GatewayProcess) -> None:
    for method, path in (("GET", DOMAINS), ("POST", "/api/v2/slo/snapshots")):
        for token in (None, "wrong"):
            status, refusal = ask(serving.admin_port, path, token, method, {})
            assert (status, refusal["reason"]) == (401, "unauthenticated")
    status, refusal = ask(serving.admin_port, DOMAINS + "0", ADMIN_TOKEN)
    assert (status, refusal["reason"]) == (422, "bad_range")


def test_nothing_is_lost_or_counted_twice_by_a_restart(tmp_path: Path, upstream_url: str) -> None:
    """The interval is longer than the test: what is there was counted by the last look."""
    with gateway(tmp_path, upstream_url, interval=300) as first:
        sent = drive([first], REQUESTS)
    with gateway(tmp_path, upstream_url, interval=300) as second:
        assert counts_of(answer(second)) == sent
        # More than the first one counted: counters that only seem to have gone on.
        sent.update(drive([second], 2 * REQUESTS))
    store = f"sqlite:///{tmp_path / 'gatewayx-slo.db'}"
    with Master(MasterSettings(store_url=store)) as master:
        last_hour = range_before(master.clock(), 3600)
        with master.readings.open("default", last_hour) as reading:
            assert counts_of(domains(reading)) == sent


def test_there_is_nothing_unless_it_is_enabled(tmp_path: Path, upstream_url: str) -> None:
    with gateway(tmp_path, upstream_url, enabled=False) as serving:
        assert ask(serving.admin_port, DOMAINS, ADMIN_TOKEN)[0] == 404
    assert not (tmp_path / "gatewayx-slo.db").exists()


def test_a_store_that_cannot_be_opened_ends_the_start_with_one_line(tmp_path: Path) -> None:
    serving = gateway(tmp_path, "http://127.0.0.1:1", store="sqlite:////nowhere/slo.db")
    with pytest.raises(RuntimeError):
        serving.start()
    assert serving.wait() == 1
    (line,) = serving.output().splitlines()
    assert line == "gatewayx: slo.store cannot be opened: unable to open database file"
