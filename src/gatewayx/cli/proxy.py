"""`gatewayx proxy`: the proxies of a running gateway."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatewayx.cli import report
from gatewayx.cli.options import admin_options
from gatewayx.cli.output import moment, output_option, show

if TYPE_CHECKING:
    from gatewayx.cli.client import AdminClient

PROXIES = "/api/gateway/proxies"

_version_option = click.option(
    "--if-version", type=int, metavar="N", help="Only if this version is stored."
)


@click.group()
def proxy() -> None:
    """Look at the proxies of a running gateway, and change those of its store."""


@proxy.command("list")
@output_option
@admin_options
def list_all(client: AdminClient, output: str) -> int:
    """Every proxy, in force or not."""
    answer = client.get(PROXIES)

    def row(entry: dict[str, Any]) -> tuple[object, ...]:
        settings = entry["proxy"] or {}
        upstreams = settings.get("upstreams") or [settings.get("upstream")]
        state = "; ".join(fault["message"] for fault in entry["faults"]) or "in force"
        return (
            *(entry["name"], entry["source"], entry["version"] or None),
            *(settings.get("host") or "any", settings.get("path")),
            *(", ".join(map(str, upstreams)), state),
        )

    columns = ("NAME", "SOURCE", "VERSION", "HOST", "PATH", "UPSTREAM", "STATE")
    return show(answer, output, columns, lambda: map(row, answer["proxies"]))


@proxy.command()
@click.argument("name")
@output_option
@admin_options
def get(name: str, client: AdminClient, output: str) -> int:
    """One proxy with all its settings; header values are hidden."""
    answer = client.get(_path(name))
    settings = answer["proxy"] or {}
    return show(answer, output, ("SETTING", "VALUE"), lambda: settings.items())


@proxy.command()
@click.option(
    "-f",
    "--file",
    "path",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="YAML, TOML or JSON: one proxy, a list, or a map with `proxies`; - for standard input.",
)
@click.option("--dry-run", is_flag=True, help="Check everything and change nothing.")
@_version_option
@admin_options
def apply(path: Path, dry_run: bool, if_version: int | None, client: AdminClient) -> int:
    """Create the proxies of a file, or replace those that are there."""
    documents = _documents(path)
    if if_version is not None and len(documents) != 1:
        raise click.UsageError("--if-version is for a file with one proxy")
    for document in documents:
        name = document.get("name") if isinstance(document, dict) else None
        if not isinstance(name, str) or not name:
            raise click.UsageError(f"{path}: a proxy has no name")
        query = {"dry_run": "true"} if dry_run else {}
        answer = client.request(
            "PUT", _path(name), document, query=query, headers=_condition(if_version)
        )
        if dry_run:
            print(f"{name}: valid, nothing changed")
        else:
            done = "created" if answer.status == 201 else "replaced"
            print(f"{name}: {done}, version {answer.body['version']}")
    return report.DONE


@proxy.command()
@click.argument("name")
@_version_option
@admin_options
def delete(name: str, if_version: int | None, client: AdminClient) -> int:
    """Delete a proxy; its history stays."""
    client.request("DELETE", _path(name), headers=_condition(if_version))
    print(f"{name}: deleted")
    return report.DONE


@proxy.command()
@click.argument("name")
@output_option
@admin_options
def history(name: str, client: AdminClient, output: str) -> int:
    """The versions of a proxy, the newest first."""
    answer = client.get(f"{_path(name)}/history")

    def row(entry: dict[str, Any]) -> tuple[object, ...]:
        settings = entry["proxy"]
        what = "deleted" if settings is None else f"{len(settings)} settings"
        return entry["version"], moment(entry["at_ms"]), entry["actor"], what

    columns = ("VERSION", "WHEN", "WHO", "WHAT")
    return show(answer, output, columns, lambda: map(row, answer["history"]))


@proxy.command()
@click.argument("name")
@click.option("--to", "version", type=int, required=True, metavar="N", help="The version to store.")
@_version_option
@admin_options
def rollback(name: str, version: int, if_version: int | None, client: AdminClient) -> int:
    """Store an earlier version of a proxy once more, as a new one."""
    answer = client.request(
        "POST",
        f"{_path(name)}/rollback",
        {"version": version},
        headers=_condition(if_version),
    )
    print(f"{name}: version {version} is back as version {answer.body['version']}")
    return report.DONE


def _path(name: str) -> str:
    from gatewayx.cli.client import place

    return PROXIES + place(name)


def _condition(version: int | None) -> dict[str, str]:
    if version is None:
        return {}
    return {"If-None-Match": "*"} if version == 0 else {"If-Match": f'"{version}"'}


def _documents(path: Path) -> list[Any]:
    from gatewayx.config import ConfigError
    from gatewayx.config.source import read_source

    if str(path) == "-":
        import yaml

        try:
            data = yaml.safe_load(sys.stdin)
        except yaml.YAMLError:
            raise click.UsageError("standard input is not YAML") from None
    else:
        try:
            data = read_source(path).data
        except ConfigError as error:
            raise click.UsageError(str(error)) from None
    if isinstance(data, dict) and "proxies" in data:
        data = data["proxies"]
    return data if isinstance(data, list) else [data]
