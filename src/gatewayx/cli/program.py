"""The commands and their arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from gatewayx.cli import report
from gatewayx.cli.breaker import breaker
from gatewayx.cli.manifest import manifest
from gatewayx.cli.operate import completion, config_group, drain, stats
from gatewayx.cli.options import admin_options
from gatewayx.cli.policy import policy
from gatewayx.cli.proxy import proxy
from gatewayx.cli.records import secret, token
from gatewayx.cli.route import route
from gatewayx.slo.cli import slo_group

if TYPE_CHECKING:
    from gatewayx.cli.client import AdminClient
    from gatewayx.config import GatewayConfig

_FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def program() -> None:
    """GatewayX: a hardened HTTP gateway for fragile back ends."""


@program.command()
@click.option("-c", "--config", "path", type=_FILE, help="Configuration: YAML, TOML or JSON.")
@click.option("--upstream", metavar="URL", help="Send every path here; no file needed.")
@click.option("--listen", metavar="ADDRESS", help="Listen here, in place of the file's listeners.")
@click.option("--admin", metavar="ADDRESS", help="Where the admin API listens.")
@click.option(
    "--workers",
    metavar="N",
    callback=lambda _context, _option, text: _number_or_word(text),
    help="Processes that carry traffic, or auto.",
)
@click.option("--store", metavar="URL", help="Keep proxies here: sqlite:///FILE or postgresql://.")
def serve(
    path: Path | None,
    upstream: str | None,
    listen: str | None,
    admin: str | None,
    workers: int | str | None,
    store: str | None,
) -> int:
    """Run the gateway until SIGTERM or SIGINT.

    Takes a configuration file, the URL of one upstream, or just a store. A second SIGINT ends it
    at once.
    """
    from gatewayx.config import ConfigError, GatewayConfig, for_upstream, load_file, override

    if (path is not None) + (upstream is not None) + (store is not None) == 0 or (
        path is not None and upstream is not None
    ):
        raise click.UsageError("give either -c FILE or --upstream URL, or only --store URL")

    def load() -> GatewayConfig:
        if path is not None:
            config = load_file(path)
        else:
            config = GatewayConfig() if upstream is None else for_upstream(upstream)
        return override(config, listen=listen, admin=admin, workers=workers, store=store)

    try:
        return _run(load(), None if path is None else load)
    except ConfigError as error:
        return report.faults(error.faults)


def _run(config: GatewayConfig, load: Callable[[], GatewayConfig] | None) -> int:
    from gatewayx.server.sockets import ListenError
    from gatewayx.server.supervisor import serve as run

    try:
        return run(config, load=load, say=report.say)
    except (ListenError, OSError) as error:
        return report.failure(error)


@program.command()
@admin_options
def reload(client: AdminClient) -> int:
    """Have a running gateway read its configuration again.

    Prints what has changed. A file with faults changes nothing; every fault is printed.
    """
    return report.changes(client.post("/api/gateway/reload")["changes"])


@program.command()
@click.option("-c", "--config", "path", type=_FILE, required=True, help="The file to check.")
def check(path: Path) -> int:
    """Check a configuration file and name every fault with its place."""
    from gatewayx.config import ConfigError, load_file

    try:
        return report.valid(path, load_file(path))
    except ConfigError as error:
        return report.faults(error.faults)


@program.command()
def version() -> int:
    """Print the version."""
    return report.version()


for _command in (completion, config_group, drain, proxy, route, secret, stats, token):
    program.add_command(_command)
program.add_command(breaker)
program.add_command(slo_group)
policy.add_command(manifest)
program.add_command(policy)


def _number_or_word(text: str | None) -> int | str | None:
    return int(text) if text and text.isascii() and text.isdecimal() else text


@program.result_callback()
def _exit(status: int) -> NoReturn:
    sys.exit(status)


def main() -> NoReturn:
    """Run the program with the process's arguments; end the process with the exit status."""
    program.main()
