"""Answers of the master on a terminal: tables, JSON, YAML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import click
import yaml
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

Answer = dict[str, Any]

_COLOURS = {
    "healthy": "green",
    "warning": "yellow",
    "critical": "red",
    "unknown": "dim",
    "firing": "red",
    "pending": "yellow",
    "resolved": "green",
}
_BADNESS = ("critical", "warning", "healthy", "unknown")
_SPARKS = "▁▂▃▄▅▆▇█"


def show(answer: Answer, output: str, table: Callable[[Answer], RenderableType]) -> None:
    """Print an answer as a table, as JSON or as YAML."""
    if output == "json":
        click.echo(json.dumps(answer, indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump(answer, sort_keys=False), nl=False)
    else:
        Console().print(table(answer))


def live() -> Live:
    """A screen that is redrawn in place."""
    return Live(auto_refresh=False, screen=True)


def top_table(answer: Answer, limit: int) -> RenderableType:
    """Services, the worst first."""
    services = sorted(
        answer["services"],
        key=lambda node: (_BADNESS.index(node["status"]), -(node["error_rate"] or 0), -node["rps"]),
    )
    table = _table("service", "status", *_GOLDEN, "budget left")
    for node in services[:limit]:
        table.add_row(
            node["id"],
            _state(node["status"]),
            *_golden(node),
            _percent(node["budget_left_percent"]),
        )
    span = answer["time_range"]
    table.title = f"{len(services)} services, {span['from']} to {span['to']}"
    return table


def topology_table(answer: Answer) -> RenderableType:
    """Nodes, then edges."""
    nodes = _table("service", "status", *_GOLDEN, "mTLS")
    for node in answer["nodes"]:
        nodes.add_row(
            node["id"], _state(node["status"]), *_golden(node), _percent(node["mtls_percent"])
        )
    return Group(nodes, _edges(answer["edges"]), *_faults(answer["faults"]))


def service_table(answer: Answer) -> RenderableType:
    """One service, its neighbours and its history."""
    node = _table("service", "status", *_GOLDEN, "mTLS")
    node.add_row(
        answer["id"], _state(answer["status"]), *_golden(answer), _percent(answer["mtls_percent"])
    )
    history = Table.grid(padding=(0, 2))
    for title, key in (("rps", "rps"), ("p95", "p95_latency"), ("errors", "error_rate")):
        history.add_row(title, sparkline(point[key] for point in answer["history"]))
    edges = _edges(answer["upstreams"] + answer["downstreams"])
    return Group(node, edges, history, *_faults(answer["faults"]))


def domains_table(answer: Answer) -> RenderableType:
    """Domains, each with its services below it."""
    table = _table("domain", "service key", "status", *_GOLDEN)
    for domain in answer["domains"]:
        table.add_row(domain["domain"], "", _state(domain["status"]), *_golden(domain))
        for entry in domain["services"]:
            table.add_row("", entry["service_key"], _state(entry["status"]), *_golden(entry))
    for entry in answer["unrouted"]:
        table.add_row("-", entry["service_key"], _state(entry["status"]), *_golden(entry))
    return table


def targets_table(answer: Answer) -> RenderableType:
    """The default, then the targets that were set."""
    table = _table("type", "target", "availability", "p95", "window", "events min")
    default = {"target_type": "*", "target_key": "default"} | answer["default"]
    for target in (default, *answer["targets"]):
        table.add_row(
            target["target_type"],
            target["target_key"],
            f"{target['availability_percent']:g} %",
            _milliseconds(target["p95_ms"]),
            f"{target['window_days']} d",
            str(target["events_min"]),
        )
    return table


def budgets_table(answer: Answer) -> RenderableType:
    """Budgets, the most spent first."""
    table = _table("type", "target", "objective", "availability", "left", "burn 1h", "lasts")
    for budget in answer["budgets"]:
        lasts = budget["seconds_to_exhaustion"]
        table.add_row(
            budget["target_type"],
            budget["target"],
            f"{budget['availability_target_percent']:g} %",
            _percent(budget["availability"], 3),
            _left(budget),
            _number(budget["burn_rate_1h"], 2),
            "-" if lasts is None else f"{lasts / 86400:.1f} d",
        )
    faults = [fault for budget in answer["budgets"] for fault in budget["faults"]]
    return Group(table, *_faults(faults))


def alerts_table(answer: Answer) -> RenderableType:
    """Alerts, the newest first."""
    table = _table("state", "severity", "target", "windows", "burn long", "burn short", "since")
    for alert in answer["alerts"]:
        labels = alert["labels"]
        table.add_row(
            _state(alert["state"]),
            alert["severity"],
            alert["target"],
            f"{labels['long_window']} / {labels['short_window']}",
            _number(alert["burn_rate_long"], 1),
            _number(alert["burn_rate_short"], 1),
            alert["fired_at"] or alert["pending_since"],
        )
    return table


def sparkline(values: Iterable[float | None]) -> str:
    """Values as bars between nothing and the largest; a gap where there is none."""
    points = list(values)
    top = max((value for value in points if value is not None), default=0.0)
    if not top:
        return "".join(" " if value is None else _SPARKS[0] for value in points)
    return "".join(
        " " if value is None else _SPARKS[round(value / top * (len(_SPARKS) - 1))]
        for value in points
    )


_GOLDEN = ("rps", "p50", "p95", "p99", "errors")


def _golden(figures: Answer) -> tuple[str, ...]:
    return (
        _number(figures["rps"], 2),
        _milliseconds(figures["p50_latency"]),
        _milliseconds(figures["p95_latency"]),
        _milliseconds(figures["p99_latency"]),
        _percent(figures["error_rate"], 2),
    )


def _table(*columns: str) -> Table:
    table = Table(header_style="bold", title_justify="left")
    words = ("service", "domain", "service key", "status", "type", "target", "state", "severity")
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right")
    return table


def _edges(edges: list[Answer]) -> Table:
    table = _table("service", "target", "rps", "avg", "errors")
    for edge in edges:
        table.add_row(
            edge["source"],
            edge["target"],
            _number(edge["rps"], 2),
            _milliseconds(edge["avg_latency"]),
            _percent(edge["error_rate"], 2),
        )
    return table


def _faults(faults: list[Answer]) -> list[Table]:
    if not faults:
        return []
    table = _table("target", "policy", "kind", "from", "to", "errors", "of the budget")
    for fault in faults:
        table.add_row(
            fault["target"],
            fault["policy"],
            fault["kind"],
            fault["start"],
            fault["end"] or "active",
            _number(fault["errors"], 0),
            _percent(fault["budget_share_percent"], 1),
        )
    return [table]


def _state(state: str) -> Text:
    return Text(state, style=_COLOURS.get(state, ""))


def _left(budget: Answer) -> str:
    if budget["state"] == "insufficient_data":
        return "too few events"
    return _percent(budget["budget_left_percent"])


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f} %"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms" if value < 1000 else f"{value:.0f} ms"
