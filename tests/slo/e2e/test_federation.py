"""The whole way, with every part a process of its own: callers, two gateways, a Prometheus that
scrapes them, an agent that federates from it, a master, its API.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.slo.agent.prometheus import PROGRAM, Prometheus
from tests.slo.agent.servers import Server, unused_port
from tests.slo.e2e.processes import (
    ask,
    counts_of,
    drive,
    latencies_of,
    own_counts,
    own_latencies,
    proxies,
    running,
    upstream,
    wait_for,
)
from tests.support.gateway import ADMIN_TOKEN, GatewayProcess

AGENT_TOKEN, READER_TOKEN = "only-for-agents", "only-for-readers"
ROUNDS, REQUESTS = 3, 200

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs /usr/bin/prometheus")


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[list[GatewayProcess]]:
    with Server(upstream) as server:
        config = {"workers": 2, "proxies": proxies(server.url)}
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        with (
            GatewayProcess(tmp_path / "one", config) as one,
            GatewayProcess(tmp_path / "two", config) as two,
        ):
            yield [one, two]


@pytest.fixture
def prometheus(tmp_path: Path, gateways: list[GatewayProcess]) -> Iterator[Prometheus]:
    federating = Prometheus(
        tmp_path,
        [f"127.0.0.1:{gateway.admin_port}" for gateway in gateways],
        metrics_path="/api/gateway/metrics",
        authorization={"credentials": ADMIN_TOKEN},
    )
    federating.wait_for("count(gateway_build_info)", [len(gateways)])
    yield federating
    federating.close()


def test_callers_gateways_and_master_count_the_same(
    tmp_path: Path, gateways: list[GatewayProcess], prometheus: Prometheus
) -> None:
    port = unused_port()
    agent = tmp_path / "agent.yaml"
    agent.write_text(
        yaml.safe_dump(
            {
                "cluster_id": "c1",
                "otel_metrics_url": prometheus.federate_url,
                "otel_health_url": prometheus.health_url,
                "master_url": f"http://127.0.0.1:{port}",
                "token": "{env.GATEWAYX_SLO_AGENT_TOKEN}",
                "state_dir": str(tmp_path / "state"),
                "metrics_address": None,
                "interval": 0.2,
                "backoff_max": 1.0,
            }
        )
    )
    tokens = {
        "GATEWAYX_SLO_AGENT_TOKEN": AGENT_TOKEN,
        "GATEWAYX_ADMIN_TOKEN": READER_TOKEN,
    }

    def snapshots() -> int:
        page = ask(port, "/metrics", None)[1]
        found = re.search(r'slo_master_snapshots_total\{result="accepted"\} (\d+)', page)
        return int(found[1]) if found else 0

    def answer() -> dict[str, object]:
        status, body = ask(port, "/api/v2/slo/domains/v2?time_range=1h", READER_TOKEN)
        assert status == 200, body
        return body

    store = f"sqlite:///{tmp_path / 'slo.db'}"
    master = ["slo", "master", "--cluster", "c1", "--store", store, "--listen"]
    with (
        running(tmp_path, *master, f"127.0.0.1:{port}", **tokens),
        running(tmp_path, "slo", "agent", "-c", str(agent), **tokens),
    ):
        wait_for(snapshots)
        sent = drive(gateways, 0)
        for _ in range(ROUNDS):
            sent.update(drive(gateways, REQUESTS))
            wait_for(lambda: counts_of(answer()) == sent)
        before = snapshots()
        wait_for(lambda: snapshots() > before + 1)
        assert counts_of(answer()) == sent == own_counts(gateways)
        assert latencies_of(answer()) == own_latencies(gateways)
        assert sent.total() == ROUNDS * REQUESTS
        assert ask(port, "/api/v2/slo/domains/v2", AGENT_TOKEN)[0] == 401
