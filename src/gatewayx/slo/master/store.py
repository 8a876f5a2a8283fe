"""The master's database: the shared ground of `gatewayx.database`, and what its rows need.

A `read()` sees rows never move from raw to rolled-up between two statements of one answer; a
snapshot acknowledged after a `write()` survives kill -9 and power loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, Text, cast, type_coerce

from gatewayx.database import Database


class Store(Database):
    """One database of the master."""

    package = "gatewayx.slo.master"
    writer_lock = 0x510_57A7E

    def upsert(self, conn: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
        """Insert rows or replace those with the same primary key."""
        if not rows:
            return
        statement = self.insert(table)
        keys = [column.name for column in table.primary_key]
        replaced = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        conn.execute(
            statement.on_conflict_do_update(index_elements=keys, set_=replaced), list(rows)
        )

    def as_text(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        """A JSON column as the text it is written in."""
        return type_coerce(column, Text) if self.sqlite else cast(column, Text)
