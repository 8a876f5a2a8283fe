"""`gatewayx slo ...`: run an agent or a master, and ask a master from a terminal.

Arguments in, calls out: answers come from the master's API and are shown by `console`. A command
imports what it needs when it runs. Exit status: 0 done, 1 failed, 2 wrong use or configuration.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gatewayx.slo.console import Answer

DEFAULT_URL = "http://127.0.0.1:9911"
DEFAULT_LISTEN = "127.0.0.1:9911"
RANGES = ("1h", "6h", "24h", "7d", "30d")
TIMEOUT_S = 30.0

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Remote:
    """The master that a command asks, and how its answer is printed."""

    url: str
    token: str | None
    cluster: str | None
    output: str

    def fetch(self, path: str, **params: object) -> Answer:
        """The answer to a GET."""
        return self._send("GET", path, params).json()  # type: ignore[no-any-return]

    def text(self, path: str, **params: object) -> str:
        """The body of a GET as it is."""
        return str(self._send("GET", path, params).text)

    def put(self, path: str, body: object) -> Answer:
        """The answer to a PUT."""
        return self._send("PUT", path, {}, body).json()  # type: ignore[no-any-return]

    def show(self, answer: Answer, table: Callable[[Answer], RenderableType]) -> int:
        """Print an answer in the form that was asked for."""
        from gatewayx.slo.console import show

        show(answer, self.output, table)
        return 0

    def _send(self, method: str, path: str, params: dict[str, object], body: object = None) -> Any:
        import httpx

        wanted = {name: str(value) for name, value in params.items() if value is not None}
        if self.cluster is not None:
            wanted["cluster_id"] = self.cluster
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            response = httpx.request(
                method,
                f"{self.url.rstrip('/')}/api/v2/slo{path}",
                params=wanted,
                json=body,
                headers=headers,
                timeout=TIMEOUT_S,
                trust_env=False,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise click.ClickException(f"no answer from {self.url}: {error}") from error
        if not response.is_success:
            raise click.ClickException(_refusal(response))
        return response


def _refusal(response: Any) -> str:
    try:
        body = response.json()
        return f"{response.status_code} {body['error']}: {body['details']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} from {response.url}"


def asks_master(command: Command) -> Command:
    """The options of every command that asks a master; they become the argument `remote`."""

    def collect(url: str, token: str | None, cluster: str | None, output: str, **rest: Any) -> Any:
        return command(remote=Remote(url, token, cluster, output), **rest)

    collect.__name__ = command.__name__
    collect.__doc__ = command.__doc__
    collect.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    decorated: Any = collect
    for option in (
        click.option(
            "-o",
            "--output",
            type=click.Choice(["table", "json", "yaml"]),
            default="table",
            help="How to print the answer.",
        ),
        click.option("--cluster", metavar="ID", help="The cluster; the master's first by default."),
        click.option(
            "--token",
            envvar="GATEWAYX_ADMIN_TOKEN",
            help="The reader token; GATEWAYX_ADMIN_TOKEN in the environment.",
        ),
        click.option(
            "--url",
            envvar="GATEWAYX_SLO_URL",
            default=DEFAULT_URL,
            show_default=True,
            help="The master; GATEWAYX_SLO_URL in the environment.",
        ),
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


_range = click.option(
    "--range",
    "time_range",
    type=click.Choice(RANGES),
    default="1h",
    show_default=True,
    help="How far to look back.",
)


@click.group("slo")
def slo_group() -> None:
    """Service levels: agent, master, call graph, budgets, alerts."""


@slo_group.command()
@click.option(
    "-c", "--config", "path", type=click.Path(path_type=Path), required=True, help="YAML file."
)
def agent(path: Path) -> int:
    """Run the agent until SIGTERM or SIGINT."""
    from gatewayx.slo.agent.loop import main

    return main(path)


@slo_group.command()
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="YAML file.")
@click.option("--listen", metavar="ADDRESS", default=DEFAULT_LISTEN, show_default=True)
@click.option("--store", metavar="URL", help="sqlite:///FILE or postgresql://...")
@click.option("--cluster", "clusters", metavar="ID", multiple=True, help="Take its snapshots.")
@click.option("--webhook", metavar="URL", help="Tell firing and resolved alerts here.")
@click.option("--agent-token", envvar="GATEWAYX_SLO_AGENT_TOKEN", help="What agents present.")
@click.option("--token", envvar="GATEWAYX_ADMIN_TOKEN", help="What readers present.")
def master(
    path: Path | None,
    listen: str,
    store: str | None,
    clusters: tuple[str, ...],
    webhook: str | None,
    agent_token: str | None,
    token: str | None,
) -> int:
    """Run the master until SIGTERM or SIGINT."""
    from gatewayx.slo.master.app import serve_master
    from gatewayx.slo.master.configuration import (
        SettingsError,
        is_loopback,
        load_settings,
        parse_listen,
    )

    given = {
        "store_url": store,
        "clusters": clusters or None,
        "webhook_url": webhook,
        "agent_token": agent_token,
        "reader_token": token,
    }
    try:
        host, port = parse_listen(listen)
        settings = load_settings(path, given)
        if not is_loopback(host) and not (settings.agent_token and settings.reader_token):
            raise SettingsError(
                f"--listen {listen} can be reached from elsewhere: set an agent token and a "
                "reader token (GATEWAYX_SLO_AGENT_TOKEN, GATEWAYX_ADMIN_TOKEN)"
            )
    except SettingsError as error:
        click.echo(f"error: {error}", err=True)
        return 2
    click.echo(f"SLO master on http://{host}:{port}", err=True)
    serve_master(settings, host, port)
    return 0


@slo_group.command()
@_range
@click.option("--interval", type=click.FloatRange(min=0.5), default=5.0, show_default=True)
@click.option("--once", is_flag=True, help="Print one table and end.")
@click.option("--limit", type=click.IntRange(min=1), default=30, show_default=True)
@asks_master
def top(remote: Remote, time_range: str, interval: float, once: bool, limit: int) -> int:
    """Services, the worst first, kept up to date until Ctrl-C."""
    from gatewayx.slo.console import live, top_table

    def look() -> Answer:
        graph = remote.fetch("/mesh/topology", time_range=time_range)
        left = {
            budget["target"]: budget["budget_left_percent"]
            for budget in remote.fetch("/budgets")["budgets"]
            if budget["target_type"] == "service"
        }
        nodes = [node | {"budget_left_percent": left.get(node["id"])} for node in graph["nodes"]]
        return {"time_range": graph["time_range"], "services": nodes}

    def table(answer: Answer) -> RenderableType:
        return top_table(answer, limit)

    if once or remote.output != "table":
        return remote.show(look(), table)
    with live() as screen:
        while True:
            screen.update(table(look()), refresh=True)
            time.sleep(interval)


@slo_group.command()
@_range
@asks_master
def topology(remote: Remote, time_range: str) -> int:
    """Services and who calls whom."""
    from gatewayx.slo.console import topology_table

    return remote.show(remote.fetch("/mesh/topology", time_range=time_range), topology_table)


@slo_group.command()
@click.argument("service", metavar="NAMESPACE/NAME")
@_range
@asks_master
def service(remote: Remote, service: str, time_range: str) -> int:
    """One service: its figures, its neighbours, its history."""
    from gatewayx.slo.console import service_table

    namespace, slash, name = service.partition("/")
    if not (namespace and slash and name):
        raise click.UsageError(f"{service!r} is not NAMESPACE/NAME")
    answer = remote.fetch(
        "/mesh/service/detail", time_range=time_range, namespace=namespace, name=name
    )
    return remote.show(answer, service_table)


@slo_group.command()
@_range
@asks_master
def domains(remote: Remote, time_range: str) -> int:
    """Domains and the services behind them."""
    from gatewayx.slo.console import domains_table

    return remote.show(remote.fetch("/domains/v2", time_range=time_range), domains_table)


@slo_group.group()
def targets() -> None:
    """What services and ingress keys owe their users."""


@targets.command("get")
@asks_master
def targets_get(remote: Remote) -> int:
    """Targets that were set, and the default."""
    from gatewayx.slo.console import targets_table

    return remote.show(remote.fetch("/targets"), targets_table)


@targets.command("set")
@click.argument("target", metavar="NAMESPACE/NAME|SERVICE-KEY")
@click.option("--availability", "availability_percent", type=float, help="Percent, such as 99.9.")
@click.option("--p95", "p95_ms", type=float, help="Milliseconds.")
@click.option("--window", "window_days", type=int, help="Days of the error budget.")
@click.option("--events-min", type=int, help="Fewer events give no verdict.")
@asks_master
def targets_set(remote: Remote, target: str, **fields: float | int | None) -> int:
    """Set a target; what is left out keeps its value. A slash makes it a service."""
    from gatewayx.slo.console import targets_table

    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        raise click.UsageError("nothing to set: give --availability, --p95, --window, --events-min")
    kind = "service" if "/" in target else "ingress"
    answer = remote.put("/targets", {"target_type": kind, "target_key": target, **given})
    return remote.show(answer, targets_table)


@slo_group.command()
@asks_master
def budgets(remote: Remote) -> int:
    """Error budgets, the most spent first."""
    from gatewayx.slo.console import budgets_table

    return remote.show(remote.fetch("/budgets"), budgets_table)


@slo_group.command()
@click.option("--state", type=click.Choice(["pending", "firing", "resolved"]))
@asks_master
def alerts(remote: Remote, state: str | None) -> int:
    """Burn-rate alerts, the newest first."""
    from gatewayx.slo.console import alerts_table

    return remote.show(remote.fetch("/alerts", state=state), alerts_table)


@slo_group.command()
@click.option("--format", "form", type=click.Choice(["prometheus", "openslo"]), required=True)
@click.option("--metric-prefix", default="", help="otel_ behind an OpenTelemetry Collector.")
@asks_master
def rules(remote: Remote, form: str, metric_prefix: str) -> int:
    """Targets as rules for Prometheus or as OpenSLO documents, in YAML."""
    text = remote.text("/rules", format=form, metric_prefix=metric_prefix)
    if remote.output == "json":
        import json

        import yaml

        click.echo(json.dumps(list(yaml.safe_load_all(text)), indent=2))
    else:
        click.echo(text, nl=False)
    return 0


@slo_group.command()
@click.option("--listen", metavar="ADDRESS", default=DEFAULT_LISTEN, show_default=True)
@click.option("--store", metavar="URL", help="Keep the data; a temporary file by default.")
@click.option("--hours", type=click.IntRange(1, 48), default=24, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--serve/--no-serve", default=True, help="Serve the filled master afterwards.")
def demo(listen: str, store: str | None, hours: int, seed: int, serve: bool) -> int:
    """Fill a master with a day of believable traffic and serve it."""
    from gatewayx.slo.demo import run_demo
    from gatewayx.slo.master.configuration import SettingsError, parse_listen

    try:
        host, port = parse_listen(listen)
    except SettingsError as error:
        click.echo(f"error: {error}", err=True)
        return 2
    run_demo(host, port, store, hours=hours, seed=seed, serve=serve, say=click.echo)
    return 0
