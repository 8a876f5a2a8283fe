"""Answers of the admin API as a table, as JSON or as YAML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from gatewayx.cli import report

Rows = Iterable[Sequence[object]]

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How the answer is printed.",
)


def show(answer: Any, output: str, columns: Sequence[str], rows: Callable[[], Rows]) -> int:
    """Print an answer; the rows are only made for a table."""
    if output == "json":
        click.echo(json.dumps(answer, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(answer, sort_keys=False), nl=False)
    else:
        table(columns, rows())
    return report.DONE


def table(columns: Sequence[str], rows: Rows) -> None:
    """Columns that line up, without a frame, so that other programs can cut them apart."""
    lines = [tuple(columns), *(tuple(map(_cell, row)) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def moment(at_ms: int | None) -> str:
    """A time in the user's own time zone."""
    from datetime import datetime

    if at_ms is None:
        return "-"
    return datetime.fromtimestamp(at_ms / 1000).astimezone().isoformat(" ", "seconds")


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # What a gateway tells is text and never a terminal's command.
    return "".join(character if character.isprintable() else "?" for character in str(value))
