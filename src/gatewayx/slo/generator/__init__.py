"""Believable input for tests and demos, made from a stream of calls that is known exactly.

``calls`` is the truth: who called whom, with what answer, how long it took. ``processes`` are the
proxies and controllers that count those calls, each in its own way, and that restart, get evicted
and move like real ones. ``text`` is what a collector shows of them. ``day`` is a day in the life of
a small shop, as calls, as collector texts or as finished snapshots.

Everything comes from one seed: the same seed is the same day.
"""

from gatewayx.slo.generator.calls import Calls, Edge, Entry, Workload
from gatewayx.slo.generator.day import Day, ScrapedText
from gatewayx.slo.generator.processes import Cluster, Process
from gatewayx.slo.generator.text import CollectorStyle, collector_text

__all__ = [
    "Calls",
    "Cluster",
    "CollectorStyle",
    "Day",
    "Edge",
    "Entry",
    "Process",
    "ScrapedText",
    "Workload",
    "collector_text",
]
