"""What a person sees on a terminal, and what a program sees on a pipe.

Results go to standard output; faults and the operator's messages to standard error. Colour and
tables are for terminals only; rich is imported only there.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewayx.cli.client import AdminError
    from gatewayx.config import Fault, GatewayConfig

DONE, FAILED, WRONG_USE = 0, 1, 2


def say(line: str) -> None:
    """Tell the operator something. Standard output is left to the access log."""
    print(line, file=sys.stderr, flush=True)


def failure(error: Exception) -> int:
    """Say why the program ends."""
    say(f"gatewayx: {error}")
    return FAILED


def faults(found: Sequence[Fault]) -> int:
    """Print every fault, one a line: `file:line:column: path: message`."""
    if not sys.stderr.isatty():
        for fault in found:
            print(fault, file=sys.stderr)
        return WRONG_USE
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    for fault in found:
        console.print(
            Text.assemble(
                (f"{fault.place}: " if fault.place else "", "dim"),
                (f"{fault.path}: " if fault.path else "", "bold"),
                fault.message,
            ),
            soft_wrap=True,
        )
    console.print(Text(f"{_count(len(found), 'fault')}. Nothing was changed.", "red"))
    return WRONG_USE


def refusal(error: AdminError) -> int:
    """Say what a gateway refused; its faults are those of a file."""
    from gatewayx.config import Fault

    if error.faults:
        return faults([Fault(**fault) for fault in error.faults])
    return failure(error)


def changes(found: dict[str, Any]) -> int:
    """Print what a reload has changed."""
    from gatewayx.server.reload import Changes

    print(Changes(**found))
    return DONE


def valid(path: Path, config: GatewayConfig) -> int:
    """Say that a file is valid, and what it would serve."""
    listeners = _count(len(config.listeners), "listener")
    proxies = _count(len(config.proxies), "proxy", "proxies")
    line = f"{path}: valid: {listeners}, {proxies}"
    if not sys.stdout.isatty():
        print(line)
        return DONE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(line, "green"), soft_wrap=True)
    table = Table("proxy", "host", "path", "upstream", box=None, header_style="dim")
    for proxy in config.proxies:
        upstreams = ", ".join(proxy.upstream_urls())
        table.add_row(*map(Text, (proxy.name, proxy.host or "any", proxy.path, upstreams)))
    if config.proxies:
        console.print(table)
    return DONE


def version() -> int:
    """Print the version of the program and of what it runs on."""
    from gatewayx import __version__

    print(f"gatewayx {__version__} ({platform.python_implementation()}", end=" ")
    print(f"{platform.python_version()}, {platform.system()} {platform.machine()})")
    return DONE


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
