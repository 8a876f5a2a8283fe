"""`gatewayx breaker`: an operator's hand on a circuit breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from gatewayx.cli import report
from gatewayx.cli.options import admin_options

if TYPE_CHECKING:
    from gatewayx.cli.client import AdminClient

_STATES = {"open": "open", "close": "closed", "reset": "auto"}


@click.command()
@click.argument("proxy")
@click.argument("action", type=click.Choice(tuple(_STATES)))
@admin_options
def breaker(proxy: str, action: str, client: AdminClient) -> int:
    """Force the circuit breaker of PROXY, in every worker of a running gateway.

    open refuses every request, close lets every request pass whatever happens; both stay until
    reset, which closes it and has it decide by itself again.
    """
    path = f"/api/gateway/proxies/{quote(proxy, safe='')}/breaker"
    answer = client.post(path, {"state": _STATES[action]})
    print(f"{answer['proxy']}: {answer['state']}")
    return report.DONE
