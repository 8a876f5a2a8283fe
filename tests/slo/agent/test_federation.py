"""The whole scrape path for real: metric servers, a Prometheus that scrapes them, an agent that
federates from it, and totals that agree with what the servers counted.

Prometheus re-orders labels, stamps times, turns every type into a gauge or untyped, and drops a
target that does not answer: everything that a collector may do to the text on its way.
"""

import json
import shutil
import subprocess
import time
from urllib.request import urlopen

import httpx
import pytest
import yaml
from agent_servers import RecordingMaster, Reply, Server, unused_port

from gatewayx.slo.agent import Agent, CollectorSource, MasterSink
from gatewayx.slo.agent.journal import Journal
from gatewayx.slo.generator import Calls, Cluster, CollectorStyle, Edge, Entry, Workload
from gatewayx.slo.generator.text import collector_text

PROMETHEUS = shutil.which("prometheus")
PATIENCE_S = 60.0
WEB = Workload("shop", "web")
CART = Workload("shop", "cart", replicas=1)
EDGES = (
    Edge(None, WEB, Entry("traefik", "shop.example", "/", WEB)),
    Edge(None, CART, Entry("gateway", "cart.example", "/", CART)),
    Edge(WEB, CART),
)
LATENCIES_MS = (0.5, 7.0, 30.0, 250.0, 2500.0, 90_000.0)

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="needs /usr/bin/prometheus")


class Exporters:
    """One metric server for each counting process."""

    def __init__(self):
        self.cluster = Cluster()
        for workload in (WEB, WEB, CART):
            self.cluster.start_pod(workload)
        for edge in EDGES:
            if edge.entry is not None:
                self.cluster.controller(edge.entry.controller)
        self.servers = [Server(self._answer(process)) for process in self.cluster.processes()]
        self.recorded = 0

    def _answer(self, process):
        def answer(_):
            if not process.reachable:
                return Reply(503)
            text = collector_text([process], CollectorStyle(prefix="", scope=(), extras=False))
            mark = f'generation{{instance="{process.labels[-1][1]}"}} {self.recorded}\n'
            return Reply(200, text + mark.encode(), {"Content-Type": "text/plain; version=0.0.4"})

        return answer

    def record(self, rounds):
        for _ in range(rounds):
            for edge in EDGES:
                self.cluster.record(Calls(edge, "200", "GET", LATENCIES_MS))
                self.cluster.record(Calls(edge, "503", "POST", LATENCIES_MS[:1]))
            self.cluster.count_noise()
        self.recorded += rounds

    def close(self):
        for server in self.servers:
            server.close()


class Prometheus:
    """A Prometheus of Debian's, scraping as fast as it can."""

    def __init__(self, directory, exporters):
        self.port = unused_port()
        self._exporters = exporters
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {
                    "job_name": "mesh",
                    "scrape_interval": "100ms",
                    "scrape_timeout": "100ms",
                    "honor_labels": True,
                    "static_configs": [
                        {"targets": [f"127.0.0.1:{server.port}" for server in exporters.servers]}
                    ],
                }
            ],
        }
        path = directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        self._log = (directory / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={path}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        self.federate_url = (
            f"http://127.0.0.1:{self.port}/federate?match[]="
            '{__name__=~"response_.%2B|traefik_.%2B|gateway_.%2B|tcp_.%2B"}'
        )
        self.health_url = f"http://127.0.0.1:{self.port}/-/ready"

    def wait_until_it_shows(self, generation):
        """Waits until every reachable process was scraped after the last calls."""
        expected = sum(process.reachable for process in self._exporters.cluster.processes())
        url = f"http://127.0.0.1:{self.port}/api/v1/query?query=generation=={generation}"
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                with urlopen(url) as answer:
                    if len(json.load(answer)["data"]["result"]) == expected:
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError("Prometheus never showed the last calls")

    def close(self):
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._log.close()


@pytest.fixture
def exporters():
    made = Exporters()
    yield made
    made.close()


@pytest.fixture
def prometheus(tmp_path, exporters):
    made = Prometheus(tmp_path, exporters)
    yield made
    made.close()


async def test_totals_survive_a_real_prometheus(tmp_path, config, exporters, prometheus):
    master = RecordingMaster()
    made = config(scrape_timeout=30.0)
    exporters.record(2)
    counted_before = exporters.recorded
    with Server(master.answer) as server, Journal(made.state_dir, "a", 2**20) as journal:
        async with httpx.AsyncClient(trust_env=False) as client:
            agent = Agent(
                made,
                journal,
                CollectorSource(
                    client,
                    prometheus.federate_url,
                    prometheus.health_url,
                    timeout_s=made.scrape_timeout,
                    size_max_bytes=made.scrape_size_max,
                ),
                MasterSink(client, server.url, None, timeout_s=30.0),
            )
            prometheus.wait_until_it_shows(exporters.recorded)
            assert await agent.scrape_once()
            for rounds, reachable in ((3, True), (5, False), (1, True), (4, True)):
                exporters.cluster.pods[CART][0].reachable = reachable
                exporters.record(rounds)
                prometheus.wait_until_it_shows(exporters.recorded)
                assert await agent.scrape_once()
            assert await agent.send_all()
    rounds = exporters.recorded - counted_before
    figures = totals(master)
    each = len(LATENCIES_MS)
    assert figures == {
        ("service", "web"): rounds * (each + 1),
        ("service", "cart"): rounds * (each + 1) * 2,
        ("edge", "web", "cart"): rounds * (each + 1),
        ("failures", "web", "cart"): rounds,
        ("ingress", "shop-web-80"): rounds * (each + 1),
        ("ingress", "cart"): rounds * (each + 1),
        ("latencies", "web"): rounds * (each + 1),
        ("slow", "web"): rounds,
    }
    assert agent.metrics.registry.get_sample_value("slo_agent_bad_lines_total") == 0


def totals(master):
    figures = {}

    def add(key, number):
        figures[key] = figures.get(key, 0) + number

    for snapshot in master.stored.values():
        for service in snapshot["services"]:
            add(("service", service["name"]), service["total_request_delta"])
            if service["name"] == "web":
                buckets = service["latency_buckets"]
                add(("latencies", "web"), service["latency_count"])
                add(("slow", "web"), buckets["+Inf"] - buckets["50000"])
        for edge in snapshot["edges"]:
            add(("edge", edge["src_name"], edge["dst_name"]), edge["request_delta"])
            add(("failures", edge["src_name"], edge["dst_name"]), edge["failure_delta"])
        for ingress in snapshot["ingress"]:
            number = sum(request["delta"] for request in ingress["requests"])
            add(("ingress", ingress["service_key"]), number)
    return figures
