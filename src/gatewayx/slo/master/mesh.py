"""The mesh: its topology, and one service of it in detail."""

from __future__ import annotations

from gatewayx.slo.master.answers import Answer, edge_answers, golden_answer
from gatewayx.slo.master.faults import FaultWindowSource, fault_costs
from gatewayx.slo.master.figures import Figures
from gatewayx.slo.master.reading import Reading
from gatewayx.slo.master.series import history


class NotReported(LookupError):
    """Nobody has reported what was asked for."""


def node_answer(reading: Reading, service_id: int, figures: Figures) -> Answer:
    """A service as a node of the topology."""
    namespace, name = reading.cluster.services.key(reading.conn, service_id)
    key = f"{namespace}/{name}"
    return {
        "id": key,
        "name": name,
        "namespace": namespace,
        **golden_answer(reading, figures, reading.targets.find("service", key)),
        "mtls_percent": figures.mtls_percent,
    }


def topology(reading: Reading, source: FaultWindowSource) -> Answer:
    """Every service and every edge that saw traffic in the range."""
    services = reading.reader.services(reading.conn, reading.plan)
    edges = reading.reader.edges(reading.conn, reading.plan)
    for edge_id in edges:
        # An end without a proxy of its own reports nothing and is a node all the same.
        for service_id in reading.cluster.edges.key(reading.conn, edge_id):
            services.setdefault(service_id, Figures())
    nodes = [node_answer(reading, key, figures) for key, figures in services.items()]
    links = edge_answers(reading, edges)
    return {
        **reading.header(),
        "nodes": sorted(nodes, key=lambda node: node["id"]),
        "edges": links,
        "faults": fault_costs(reading, source),
    }


def service_detail(
    reading: Reading, source: FaultWindowSource, namespace: str, name: str
) -> Answer:
    """One service: its figures, their history, whom it calls and who calls it.

    `upstreams` are the services that it calls, `downstreams` those that call it, in the gateway's
    sense of the words.

    Raises:
        NotReported: no agent has ever named the service.
    """
    service_id = reading.cluster.services.find(reading.conn, (namespace, name))
    if service_id is None:
        raise NotReported(f"service {namespace}/{name}")
    figures = reading.reader.services(reading.conn, reading.plan, [service_id])
    reading.cluster.edges.load(reading.conn)
    ends = reading.cluster.edges.ids()
    edge_ids = [edge_id for pair, edge_id in ends.items() if service_id in pair]
    edges = reading.reader.edges(reading.conn, reading.plan, edge_ids) if edge_ids else {}
    links = edge_answers(reading, edges)
    key = f"{namespace}/{name}"
    return {
        **reading.header(),
        **node_answer(reading, service_id, figures.get(service_id, Figures())),
        "history": history(reading, "service", service_id),
        "upstreams": [link for link in links if link["source"] == key],
        "downstreams": [link for link in links if link["target"] == key],
        "faults": fault_costs(reading, source, only=("service", key)),
    }
