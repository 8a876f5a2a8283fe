"""`gatewayx policy`: fault policies of a running gateway."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from gatewayx.cli import report
from gatewayx.cli.options import admin_options

if TYPE_CHECKING:
    from gatewayx.chaos import Policy
    from gatewayx.cli.client import AdminClient

_OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "yaml", "json"]),
    default="table",
    help="How to print.",
)

_HEADINGS = (
    *("NAME", "STATE", "SERVICE", "NAMESPACE"),
    *("RULES", "MATCHED", "INJECTED", "EXPIRES IN"),
)


@click.group()
def policy() -> None:
    """Fault policies: what is injected, into which requests, for how long."""


@policy.command()
@click.option(
    "-f", "--file", "place", required=True, metavar="FILE|DIR|-", help="Policies, YAML or JSON."
)
@click.option(
    "--start-delay-ms",
    type=click.IntRange(0),
    metavar="N",
    help="In place of every rule's start_delay_ms.",
)
@click.option(
    "--duration-seconds",
    type=click.FloatRange(0),
    metavar="N",
    help="In place of every rule's duration_seconds; 0 is never.",
)
@click.option("--dry-run", is_flag=True, help="Check, also by the gateway, and change nothing.")
@admin_options
def apply(
    client: AdminClient,
    place: str,
    start_delay_ms: int | None,
    duration_seconds: float | None,
    dry_run: bool,
) -> int:
    """Create or replace policies. They are live in every worker when this returns.

    A policy with faults changes nothing; every fault is printed with its place.
    """
    from gatewayx.chaos import load_policies
    from gatewayx.config import ConfigError

    overrides = {"start_delay_ms": start_delay_ms, "duration_seconds": duration_seconds}
    try:
        policies = load_policies(place)
    except ConfigError as error:
        return report.faults(error.faults)
    documents = [_document(one, overrides) for one in policies]
    client.post("/v1/policies", documents, dry_run="true" if dry_run else None)
    done = "valid, not applied" if dry_run else "applied"
    for one in policies:
        print(f"policy {one.name} {done}")
    return report.DONE


@policy.command("list")
@_OUTPUT
@admin_options
def list_policies(client: AdminClient, output: str) -> int:
    """Print every policy, expired ones too."""
    policies = client.get("/v1/policies")["policies"]
    if output != "table":
        return _print({"policies": policies}, output)
    return _table([_HEADINGS, *map(_row, policies)])


@policy.command()
@click.argument("name")
@_OUTPUT
@admin_options
def get(client: AdminClient, name: str, output: str) -> int:
    """Print one policy."""
    found = client.get(_path(name))
    if output != "table":
        return _print(found, output)
    return _table([_HEADINGS, _row(found)])


@policy.command()
@click.argument("name")
@admin_options
def describe(client: AdminClient, name: str) -> int:
    """Print what a policy says and what it has done."""
    found = client.get(_path(name))
    status = found.pop("status")
    kinds = ", ".join(f"{kind} {count}" for kind, count in status["injected_by_kind"].items())
    for label, value in (
        ("Name", name),
        ("State", status["state"]),
        ("Applied", f"{status['applied_at']} by {status['applied_by']}"),
        ("Expires in", _seconds(status["expires_in_seconds"])),
        ("Matched", status["matched"]),
        ("Injected", f"{status['injected']} ({kinds})"),
        ("Active now", status["active_faults"]),
    ):
        print(f"{label + ':':<13}{value}")
    print()
    return _print(found, "yaml")


@policy.command()
@click.argument("names", nargs=-1, required=True)
@admin_options
def delete(client: AdminClient, names: tuple[str, ...]) -> int:
    """Forget policies; requests that they hold go on at once."""
    for name in names:
        client.delete(_path(name))
        print(f"policy {name} deleted")
    return report.DONE


@policy.command()
@click.argument("names", nargs=-1, required=True)
@admin_options
def enable(client: AdminClient, names: tuple[str, ...]) -> int:
    """Switch policies on; their durations begin anew."""
    return _switch(client, names, "enable")


@policy.command()
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="The kill switch: every policy.")
@admin_options
def disable(client: AdminClient, names: tuple[str, ...], every: bool) -> int:
    """Switch policies off; requests that they hold go on at once."""
    if every == bool(names):
        raise click.UsageError("give either names or --all")
    if not every:
        return _switch(client, names, "disable")
    for name in client.post("/v1/policies/disable-all")["disabled"]:
        print(f"policy {name} disabled")
    return report.DONE


def _switch(client: AdminClient, names: tuple[str, ...], action: str) -> int:
    for name in names:
        client.post(f"{_path(name)}/{action}")
        print(f"policy {name} {action}d")
    return report.DONE


def _document(one: Policy, overrides: dict[str, Any]) -> dict[str, Any]:
    document = one.model_dump(mode="json", exclude_none=True)
    given = {key: value for key, value in overrides.items() if value is not None}
    for rule in document["spec"]["rules"]:
        rule["fault"].update(given)
    return document


def _path(name: str) -> str:
    from gatewayx.cli.client import place

    return place("v1", "policies", name)


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    selector = found["spec"].get("selector", {})
    status = found["status"]
    return (
        found["metadata"]["name"],
        status["state"],
        selector.get("service", "*"),
        selector.get("namespace", "*"),
        str(len(found["spec"]["rules"])),
        str(status["matched"]),
        str(status["injected"]),
        _seconds(status["expires_in_seconds"]),
    )


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f} s"


def _table(rows: list[tuple[str, ...]]) -> int:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return report.DONE


def _print(data: dict[str, Any], output: str) -> int:
    if output == "json":
        print(json.dumps(data, indent=2))
        return report.DONE
    import yaml

    yaml.safe_dump(data, sys.stdout, sort_keys=False)
    return report.DONE
