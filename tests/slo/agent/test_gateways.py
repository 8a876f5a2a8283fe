"""Two real gateways under load, a real Prometheus in front, an agent at work: every request arrives
in the master once, and the gateways' own counters and the load generator agree.
"""

import asyncio
import os
import subprocess
import sys
from collections import Counter

import httpx
import pytest
import yaml

from gatewayx.slo.agent import run
from gatewayx.slo.agent.normalise import METRICS
from gatewayx.slo.agent.parse import parse
from tests.slo.agent.prometheus import PROGRAM, Prometheus
from tests.slo.agent.servers import RecordingMaster, Reply, Server, eventually, unused_port

TOKEN = "only-for-this-test"
REQUESTS = 300
CONCURRENCY = 8
PATIENCE_S = 60.0

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs /usr/bin/prometheus")


def upstream(request):
    return Reply(503 if request.path.endswith("/fails") else 200, b"ok")


class Gateway:
    """`gatewayx serve` with two workers and one proxy."""

    def __init__(self, directory, upstream_url):
        self.listener, self.admin = unused_port(), unused_port()
        directory.mkdir()
        config = directory / "gateway.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "listeners": [{"address": f"127.0.0.1:{self.listener}"}],
                    "admin": {"address": f"127.0.0.1:{self.admin}"},
                    "workers": 2,
                    "proxies": [{"name": "shop", "path": "/", "upstream": upstream_url}],
                }
            )
        )
        self._log = (directory / "log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gatewayx", "serve", "-c", str(config)],
            stdout=self._log,
            stderr=self._log,
            cwd=directory,
            env=os.environ | {"GATEWAYX_ADMIN_TOKEN": TOKEN},
        )

    async def metrics(self, client):
        """Its own counters, asked directly: requests by status, and the number of latencies."""
        answer = await client.get(
            f"http://127.0.0.1:{self.admin}/api/gateway/metrics",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        figures = Counter()
        for sample in parse(answer.raise_for_status().content, METRICS).samples:
            if METRICS[sample.name].role == "counter":
                figures[sample.labels["status"]] += int(sample.value)
            elif METRICS[sample.name].role == "count":
                figures["latencies"] += int(sample.value)
        return figures

    async def ready(self, client):
        """Waits until it answers on both listeners."""
        for _ in range(int(PATIENCE_S / 0.1)):
            try:
                await self.metrics(client)
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
            else:
                return
        raise AssertionError("the gateway never came up")

    def close(self):
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._log.close()


@pytest.fixture
def gateways(tmp_path):
    with Server(upstream) as server:
        made = [Gateway(tmp_path / name, server.url) for name in ("one", "two")]
        yield made
        for gateway in made:
            gateway.close()


async def load(client, gateways):
    """Sends requests to both gateways; returns the answers by status."""
    seen = Counter()
    pending = iter(range(REQUESTS * len(gateways)))

    async def send():
        for number in pending:
            gateway = gateways[number % len(gateways)]
            path = "/fails" if number % 10 == 0 else "/works"
            answer = await client.get(f"http://127.0.0.1:{gateway.listener}{path}")
            seen[str(answer.status_code)] += 1

    await asyncio.gather(*(send() for _ in range(CONCURRENCY)))
    return seen


async def test_every_request_is_counted_once(tmp_path, config, gateways):
    master = RecordingMaster()
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
        for gateway in gateways:
            await gateway.ready(client)
        prometheus = Prometheus(
            tmp_path,
            [f"127.0.0.1:{gateway.admin}" for gateway in gateways],
            metrics_path="/api/gateway/metrics",
            authorization={"credentials": TOKEN},
        )
        with Server(master.answer) as server:
            prometheus.wait_for("count(gateway_build_info)", [len(gateways)])
            working = asyncio.create_task(
                run(
                    config(
                        otel_metrics_url=prometheus.federate_url,
                        otel_health_url=prometheus.health_url,
                        master_url=server.url,
                        interval=0.1,
                    )
                )
            )
            await eventually(lambda: master.stored)
            sent = await load(client, gateways)
            own = [await gateway.metrics(client) for gateway in gateways]
            await eventually(lambda: master.total() >= REQUESTS * len(gateways))
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working
        prometheus.close()
    counted, latencies = Counter(), 0
    for snapshot in master.stored.values():
        for ingress in snapshot["ingress"]:
            assert ingress["service_key"] == "shop"
            latencies += ingress["latency_count"]
            for request in ingress["requests"]:
                counted[request["code"]] += request["delta"]
    assert sent == counted
    assert sent.total() == REQUESTS * len(gateways)
    assert own[0] + own[1] == counted + Counter(latencies=latencies)
    assert latencies == sent.total()
    assert len(master.stored) > 3
