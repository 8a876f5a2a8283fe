"""`gatewayx stats`, `drain`, `config` and `completion`."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from gatewayx.cli import report
from gatewayx.cli.options import admin_options
from gatewayx.cli.output import output_option, show

if TYPE_CHECKING:
    from gatewayx.cli.client import AdminClient

_COLUMNS = (
    *("PROXY", "REQ/S", "ERR/S", "P50 MS", "P99 MS", "ACTIVE", "LIMIT", "QUEUE", "BREAKER"),
)


@click.command()
@click.option("--once", is_flag=True, help="Print one look, also on a terminal.")
@click.option("--interval", type=click.FloatRange(min=0.2), default=1.0, show_default=True)
@output_option
@admin_options
def stats(client: AdminClient, once: bool, interval: float, output: str) -> int:
    """What every proxy does now; a live table on a terminal, until Ctrl-C."""
    if output != "table" or once or not sys.stdout.isatty():
        answer = client.get("/api/gateway/states")
        return show(answer, output, _COLUMNS, lambda: map(_row, *_pairs(answer)))
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def picture() -> Table:
        table = Table(*_COLUMNS, box=None, header_style="dim")
        for row in map(_row, *_pairs(client.get("/api/gateway/states"))):
            style = "red" if row[-1] == "open" else ""
            table.add_row(*(Text(str(cell), style) for cell in row))
        return table

    try:
        with Live(picture(), auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(picture(), refresh=True)
    except KeyboardInterrupt:
        return report.DONE


def _pairs(answer: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    proxies = answer["proxies"]
    return list(proxies), list(proxies.values())


def _row(name: str, state: dict[str, Any]) -> tuple[object, ...]:
    limiter, latency = state["limiter"], state["latency_seconds"]
    return (
        *(name, state["requests_per_second"], state["errors_per_second"]),
        *(_ms(latency["p50"]), _ms(latency["p99"]), state["active"]),
        *(f"{limiter['in_use']}/{limiter['limit'] or '-'}", limiter["queued"], state["breaker"]),
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


@click.command()
@admin_options
def drain(client: AdminClient) -> int:
    """Have a gateway finish what is under way and end."""
    client.post("/api/gateway/drain")
    print("draining")
    return report.DONE


@click.group("config")
def config_group() -> None:
    """The configuration of a running gateway, and what one may look like."""


@config_group.command()
@click.option("-o", "--output", type=click.Choice(["json", "yaml"]), default="yaml")
@admin_options
def dump(client: AdminClient, output: str) -> int:
    """What is in force, secrets hidden, and what is left out of it and why."""
    return show(client.get("/config_dump"), output, (), list)


@config_group.command()
def schema() -> int:
    """The JSON Schema of a configuration file, for editors."""
    from gatewayx.config import GatewayConfig

    click.echo(json.dumps(GatewayConfig.model_json_schema(), indent=2))
    return report.DONE


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print what completes commands in a shell: `eval "$(gatewayx completion bash)"`."""
    from click.shell_completion import get_completion_class

    from gatewayx.cli.program import program

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(program, {}, "gatewayx", "_GATEWAYX_COMPLETE").source())
    return report.DONE
