"""The sum of deltas is the number of events, up to what nobody can know, and never exceeds it.

Any sequence of traffic, pod churn, resets, evictions, pods out of reach, repeated and spoiled
texts, gaps and agent restarts goes through the real stages, with the last values on a real disk.
Beside it an oracle watches the generator's processes themselves, where every life of a series has
its own number, and works out two bounds for each series:

- *seen*: for each life, the last value that a good scrape showed, less the value at a baseline;
- *unknowable*: of that, what no one could have told from the texts: a reset that hid behind a
  larger value, growth during a long absence, series first seen while lines were illegible.

Nothing unknowable happened in most sequences; then the two bounds meet.
"""

import os
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from gatewayx.slo.agent.delta import EXPIRY_S
from gatewayx.slo.agent.filter import EXCLUDED_NAMESPACES
from gatewayx.slo.agent.journal import Journal
from gatewayx.slo.agent.parse import read_reference
from gatewayx.slo.agent.pipeline import UnusableText, measure
from gatewayx.slo.generator import Calls, Cluster, CollectorStyle, Edge, Entry, Workload
from gatewayx.slo.generator.text import collector_text

WEB = Workload("shop", "web", replicas=2)
CART = Workload("shop", "cart", replicas=1)
EDGES = (
    Edge(None, WEB, Entry("traefik", "shop.example", "/", WEB)),
    Edge(None, CART, Entry("nginx", "cart.example", "/", CART)),
    Edge(None, CART, Entry("gateway", "cart.example", "/", CART)),
    Edge(WEB, CART),
)
PLACES = {
    "shop-web-80": ("shop-web-80@kubernetes", "traefik"),
    "shop-cart-80": ("cart", "nginx"),
    "cart": ("cart", "gateway"),
}
"""Service label and controller behind each service key."""
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where a sync costs nothing: what is on the disk matters here, not whether it would survive."""
SUFFIXES = ("_bucket", "_sum", "_count", "_total")


def key_of(metric, labels):
    """A series by name and labels; the same for the process that counts and the line that shows."""
    metric = metric.removeprefix("otel_")
    for suffix in SUFFIXES:
        metric = metric.removesuffix(suffix)
    kept = {
        name: value
        for name, value in labels.items()
        if name != "le" and not name.startswith("otel_scope_")
    }
    return metric, frozenset(kept.items())


def subject_of(key):
    """What a series is about, coarse enough that a wrong figure cannot hide in another."""
    metric, labels = key
    pairs = dict(labels)
    if "direction" in pairs:
        place = pairs["deployment"], pairs["direction"]
    else:
        place = pairs.get("service", pairs.get("proxy")), metric.partition("_")[0]
    return (*place, "latency" if "latency" in metric or "duration" in metric else "requests")


@dataclass
class Watched:
    """What the oracle knows of one series."""

    life: int
    value: int
    absent_since: float | None = None
    counts: list = field(default_factory=list)


class Oracle:
    """Watches processes, not texts."""

    def __init__(self):
        self.seen = Counter()
        self.unknowable = Counter()
        self._watched = {}
        self._at = None
        self._unread_at_baseline = set()
        self._doubt_until = float("-inf")

    def observe(self, cluster, at, unread, illegible):
        shown = {}
        for process in cluster.processes():
            if process.reachable:
                for (metric, labels), cell in process.counters.items():
                    shown[key_of(metric, dict(process.labels + labels))] = (cell.life, cell.value)
                for (metric, labels), cell in process.histograms.items():
                    value = sum(cell.counts)
                    shown[key_of(metric, dict(process.labels + labels))] = (cell.life, value)
        baseline = self._at is None or at - self._at > EXPIRY_S
        if baseline:
            self._unread_at_baseline = set(unread)
        absent_from = self._at if baseline else at
        for key in self._watched.keys() - shown.keys():
            if self._watched[key].absent_since is None:
                self._watched[key].absent_since = absent_from
        for key, (life, value) in shown.items():
            if key not in unread:
                self._observe_series(key, life, value, at, baseline)
        self._at = at
        if illegible:
            self._doubt_until = at + EXPIRY_S

    def _observe_series(self, key, life, value, at, baseline):
        before = self._watched.get(key)
        self._watched[key] = Watched(life, value)
        if baseline:
            return
        if key in self._unread_at_baseline:
            self._unread_at_baseline.discard(key)
            if before is None or before.life == life:
                return
        subject = subject_of(key)
        grown = value - before.value if before and before.life == life else value
        self.seen[subject] += grown
        if (before is None or before.absent_since is not None) and at <= self._doubt_until:
            self.unknowable[subject] += grown
            return
        if before is None:
            return
        if before.life != life:
            if value >= before.value:
                self.unknowable[subject] += value
        elif before.absent_since is not None and at - before.absent_since > EXPIRY_S:
            self.unknowable[subject] += grown


class World:
    """A cluster, a collector in front of it, an agent, and the oracle."""

    def __init__(self, directory):
        self.cluster = Cluster()
        for workload in (WEB, CART):
            for _ in range(workload.replicas):
                self.cluster.start_pod(workload)
        self.at = 1_700_000_000.0
        self.version = 1
        self.measured = Counter()
        self.oracle = Oracle()
        self._directory = directory
        self.journal = Journal(directory, "agent", 2**20)

    def pod(self, index):
        processes = list(self.cluster.processes())
        return processes[index % len(processes)]

    def text(self):
        style = CollectorStyle(scope=(("otel_scope_version", str(self.version)),))
        return collector_text(self.cluster.processes(), style)

    def scrape(self, text=None, unread=(), illegible=False):
        self.at += 15
        interval = measure(
            self.text() if text is None else text,
            self.journal.last_values(),
            self.at,
            excluded_namespaces=EXCLUDED_NAMESPACES,
        )
        assert interval.overflow is None
        self.journal.commit(interval.advance, None)
        self.oracle.observe(self.cluster, self.at, set(unread), illegible)
        figures = interval.aggregates
        for service in figures.services:
            self.measured[service.name, "inbound", "requests"] += service.total_request_delta
            self.measured[service.name, "inbound", "latency"] += service.latency_count
        for edge in figures.edges:
            self.measured[edge.src_name, "outbound", "requests"] += edge.request_delta
            self.measured[edge.src_name, "outbound", "latency"] += edge.latency_count
        for ingress in figures.ingress:
            place = PLACES[ingress.service_key]
            self.measured[*place, "requests"] += sum(item.delta for item in ingress.requests)
            self.measured[*place, "latency"] += ingress.latency_count

    def restart_agent(self):
        self.journal.close()
        self.journal = Journal(self._directory, "agent", 2**20)

    def scrape_spoiled(self, index, how):
        lines = self.text().decode().split("\n")
        countable = [
            number
            for number, line in enumerate(lines)
            if line.startswith(("otel_response_total{", "otel_gateway_requests_total{"))
            or "_bucket{" in line
        ]
        if not countable:
            return
        at = countable[index % len(countable)]
        name, labels, _ = read_reference(lines[at])
        if how == "NaN":
            lines[at] = lines[at].rpartition(" ")[0] + " NaN"
            unread = {key_of(name, labels)}
        else:
            lines[at] = lines[at].replace('"', "", 1)
            unread = set() if "_bucket" in name else {key_of(name, labels)}
        self.scrape("\n".join(lines).encode(), unread, illegible=how != "NaN")

    def scrape_repeated(self, index):
        lines = self.text().decode().split("\n")
        self.scrape("\n".join(lines[:-1] + lines[index % len(lines) :]).encode())

    def scrape_cut(self, share):
        text = self.text()
        cut = text[: int(len(text) * share)]
        if cut and not cut.endswith(b"\n"):
            try:
                self.scrape(cut)
            except UnusableText:
                return
            raise AssertionError("a truncated text was used")


small = st.integers(0, 30)
workloads = st.sampled_from([WEB, CART])
traffic = st.lists(
    st.tuples(
        st.just("calls"),
        st.sampled_from(EDGES),
        st.sampled_from(["200", "200", "200", "503"]),
        st.lists(st.sampled_from([0.5, 4, 80, 250, 3000, 90_000]), min_size=1, max_size=12),
    ),
    max_size=3,
)
disturbances = st.one_of(
    st.tuples(st.just("start"), workloads),
    st.tuples(st.just("stop"), workloads, small),
    st.tuples(st.just("restart"), small),
    st.tuples(st.just("restart"), small),
    st.tuples(st.just("evict"), small, small),
    st.tuples(st.just("evict"), small, small),
    st.tuples(st.just("reach"), small, st.booleans()),
    st.tuples(st.just("reach"), small, st.booleans()),
    st.tuples(st.just("agent")),
    st.tuples(st.just("wait"), st.sampled_from([30.0, 200.0, 200.0, 400.0])),
    st.tuples(st.just("upgrade")),
    st.tuples(st.just("scrape")),
)
looks = st.one_of(
    st.tuples(st.just("scrape")),
    st.tuples(st.just("scrape")),
    st.tuples(st.just("scrape")),
    st.tuples(st.just("spoil"), small, st.sampled_from(["NaN", "illegible"])),
    st.tuples(st.just("repeat"), small),
    st.tuples(st.just("cut"), st.floats(0.1, 0.99)),
)
episodes = st.tuples(traffic, st.lists(disturbances, max_size=2), traffic, looks).map(
    lambda episode: [*episode[0], *episode[1], *episode[2], episode[3]]
)
"""Traffic, trouble, traffic and a look: trouble is of interest between two looks."""


def take(world, step):
    match step:
        case "calls", edge, code, latencies:
            world.cluster.record(Calls(edge, code, "GET", tuple(latencies)))
        case ("scrape",):
            world.scrape()
        case "start", workload:
            world.cluster.start_pod(workload)
        case "stop", workload, index:
            world.cluster.stop_pod(workload, index)
        case "restart", index:
            world.pod(index).restart()
        case "evict", index, series:
            world.pod(index).evict(series)
        case "reach", index, reachable:
            world.pod(index).reachable = reachable
        case ("agent",):
            world.restart_agent()
        case "wait", seconds:
            world.at += seconds
        case ("upgrade",):
            world.version += 1
        case "spoil", index, how:
            world.scrape_spoiled(index, how)
        case "repeat", index:
            world.scrape_repeated(index)
        case "cut", share:
            world.scrape_cut(share)
        case _:
            raise AssertionError(step)


@settings(
    max_examples=int(os.environ.get("GATEWAYX_TRUTH_EXAMPLES", "80")),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(episodes, min_size=2, max_size=14))
def test_deltas_add_up_to_the_truth(story):
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        world = World(Path(directory))
        world.scrape()
        for step in chain.from_iterable(story):
            take(world, step)
        world.scrape()
        world.journal.close()
    exact = not any(world.oracle.unknowable.values())
    event("every event is knowable" if exact else "some events are unknowable")
    for subject, seen in world.oracle.seen.items():
        measured = world.measured[subject]
        assert measured <= seen, subject
        assert measured >= seen - world.oracle.unknowable[subject], subject
