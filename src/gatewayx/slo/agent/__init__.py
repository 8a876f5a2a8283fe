"""The agent: scrapes counters, sends the master what happened since the last scrape.

One interval's way through the stages, each a pure function of its input::

    source -> parse -> filter -> normalise -> delta -> aggregate -> SLOSnapshot
                                                |                        |
                                           last values ---- journal ---- buffer -> sink

``pipeline`` joins the pure stages, ``journal`` is the disk, ``loop`` is the only place with a
clock. A library user starts with ``AgentConfig`` and ``run``, the command line with ``main``.
"""

from gatewayx.slo.agent.collector import CollectorSource, LocalSource, ScrapeError, Source
from gatewayx.slo.agent.config import AgentConfig, ConfigError, load_config
from gatewayx.slo.agent.loop import Agent, main, run
from gatewayx.slo.agent.master import Answer, LocalSink, MasterSink, Sink, Verdict

__all__ = [
    "Agent",
    "AgentConfig",
    "Answer",
    "CollectorSource",
    "ConfigError",
    "LocalSink",
    "LocalSource",
    "MasterSink",
    "ScrapeError",
    "Sink",
    "Source",
    "Verdict",
    "load_config",
    "main",
    "run",
]
