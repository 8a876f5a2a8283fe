"""`gatewayx token` and `gatewayx secret`: what the store keeps besides proxies."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from gatewayx.cli import report
from gatewayx.cli.options import admin_options
from gatewayx.cli.output import moment, output_option, show

if TYPE_CHECKING:
    from gatewayx.cli.client import AdminClient

TOKENS, SECRETS = "/api/gateway/tokens", "/api/gateway/secrets"


@click.group()
def token() -> None:
    """API tokens: for callers of proxies, and for operators."""


@token.command()
@click.argument("label")
@click.option("--superuser", is_flag=True, help="It opens the admin API.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=VALUE", help="For access rules.")
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True), help="It expires after so many."
)
@output_option
@admin_options
def create(
    label: str,
    superuser: bool,
    claims: tuple[str, ...],
    days: float | None,
    client: AdminClient,
    output: str,
) -> int:
    """Make a token; its text is printed this once."""
    form: dict[str, Any] = {"label": label, "superuser": superuser}
    form["claims"] = dict(map(_claim, claims))
    if days is not None:
        form["expires_ms"] = int((time.time() + days * 86400) * 1000)
    answer = client.post(TOKENS, form)
    return show(answer, output, ("ID", "TOKEN"), lambda: [(answer["id"], answer["token"])])


@token.command("list")
@output_option
@admin_options
def list_tokens(client: AdminClient, output: str) -> int:
    """Every token that has not been revoked."""
    answer = client.get(TOKENS)

    def row(entry: dict[str, Any]) -> tuple[object, ...]:
        return (
            *(entry["id"], entry["label"], entry["superuser"], json.dumps(entry["claims"])),
            *(moment(entry["created_ms"]), moment(entry["expires_ms"])),
        )

    columns = ("ID", "LABEL", "SUPERUSER", "CLAIMS", "CREATED", "EXPIRES")
    return show(answer, output, columns, lambda: map(row, answer["tokens"]))


@token.command()
@click.argument("token_id", metavar="ID")
@admin_options
def revoke(token_id: str, client: AdminClient) -> int:
    """Make a token worthless, at once and in every worker."""
    from gatewayx.cli.client import place

    client.delete(TOKENS + place(token_id))
    print(f"{token_id}: revoked")
    return report.DONE


@click.group()
def secret() -> None:
    """Secrets for `{secret.NAME}` in header values; they cannot be read back."""


@secret.command("set")
@click.argument("name")
@admin_options
def set_secret(name: str, client: AdminClient) -> int:
    """Set a secret to what is typed, or to what comes on standard input.

    It is not taken as an argument, because other users of the machine see those.
    """
    from gatewayx.cli.client import place

    if sys.stdin.isatty():
        text = click.prompt(f"{name}", hide_input=True, confirmation_prompt=True)
    else:
        text = sys.stdin.read().rstrip("\r\n")
    client.put(SECRETS + place(name), {"value": text})
    print(f"{name}: set")
    return report.DONE


@secret.command("list")
@output_option
@admin_options
def list_secrets(client: AdminClient, output: str) -> int:
    """The names of all secrets."""
    answer = client.get(SECRETS)

    def row(entry: dict[str, Any]) -> tuple[object, ...]:
        return entry["name"], moment(entry["created_ms"]), moment(entry["updated_ms"])

    columns = ("NAME", "CREATED", "CHANGED")
    return show(answer, output, columns, lambda: map(row, answer["secrets"]))


@secret.command("delete")
@click.argument("name")
@admin_options
def delete_secret(name: str, client: AdminClient) -> int:
    """Delete a secret. Proxies that refer to it are left out until it is set again."""
    from gatewayx.cli.client import place

    client.delete(SECRETS + place(name))
    print(f"{name}: deleted")
    return report.DONE


def _claim(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--claim {text}: write NAME=VALUE")
    return name, value
