"""The whole scrape path for real: metric servers, a Prometheus that scrapes them, an agent that
federates from it, and totals that agree with what the servers counted.

Prometheus re-orders labels, stamps times, turns every type into a gauge or untyped, and drops a
target that does not answer: everything that a collector may do to the text on its way.
"""

import httpx
import pytest

from gatewayx.slo.agent import Agent, CollectorSource, MasterSink
from gatewayx.slo.agent.journal import Journal
from gatewayx.slo.generator import Calls, Cluster, CollectorStyle, Edge, Entry, Workload
from gatewayx.slo.generator.text import collector_text
from tests.slo.agent.prometheus import PROGRAM, Prometheus
from tests.slo.agent.servers import RecordingMaster, Reply, Server

WEB = Workload("shop", "web")
CART = Workload("shop", "cart", replicas=1)
EDGES = (
    Edge(None, WEB, Entry("traefik", "shop.example", "/", WEB)),
    Edge(None, CART, Entry("gateway", "cart.example", "/", CART)),
    Edge(WEB, CART),
)
LATENCIES_MS = (0.5, 7.0, 30.0, 250.0, 2500.0, 90_000.0)

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs /usr/bin/prometheus")


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

    def wait_until_shown(self, prometheus):
        """Waits until every reachable process was scraped after the last calls."""
        reachable = sum(process.reachable for process in self.cluster.processes())
        prometheus.wait_for(f"generation == {self.recorded}", [self.recorded] * reachable)

    def close(self):
        for server in self.servers:
            server.close()


@pytest.fixture
def exporters():
    made = Exporters()
    yield made
    made.close()


@pytest.fixture
def prometheus(tmp_path, exporters):
    targets = [f"127.0.0.1:{server.port}" for server in exporters.servers]
    made = Prometheus(tmp_path, targets)
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
            exporters.wait_until_shown(prometheus)
            assert await agent.scrape_once()
            for rounds, reachable in ((3, True), (5, False), (1, True), (4, True)):
                exporters.cluster.pods[CART][0].reachable = reachable
                exporters.record(rounds)
                exporters.wait_until_shown(prometheus)
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
