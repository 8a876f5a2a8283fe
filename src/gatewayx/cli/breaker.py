"""`gatewayx breaker`: an operator's hand on a circuit breaker."""

from __future__ import annotations

from urllib.parse import quote

import click

from gatewayx.cli import report

_STATES = {"open": "open", "close": "closed", "reset": "auto"}


@click.command()
@click.argument("proxy")
@click.argument("action", type=click.Choice(tuple(_STATES)))
@click.option(
    "--admin",
    metavar="ADDRESS",
    default="127.0.0.1:9901",
    show_default=True,
    help="Where the admin API listens.",
)
@click.option(
    "--token",
    envvar="GATEWAYX_ADMIN_TOKEN",
    required=True,
    help="The superuser token; also taken from GATEWAYX_ADMIN_TOKEN.",
)
def breaker(proxy: str, action: str, admin: str, token: str) -> int:
    """Force the circuit breaker of PROXY, in every worker of a running gateway.

    open refuses every request, close lets every request pass whatever happens; both stay until
    reset, which closes it and has it decide by itself again.
    """
    from gatewayx.cli.client import AdminClient, AdminError

    path = f"/api/gateway/proxies/{quote(proxy, safe='')}/breaker"
    try:
        answer = AdminClient(admin, token).post(path, {"state": _STATES[action]})
    except AdminError as error:
        return report.failure(error)
    print(f"{answer['proxy']}: {answer['state']}")
    return report.DONE
