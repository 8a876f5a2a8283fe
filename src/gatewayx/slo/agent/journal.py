"""The agent's disk: last values, send buffer and sequence number, in one SQLite file.

Theory of operation. A scrape changes two things: what is remembered, and what is to be sent. They
are written in one transaction (``commit``), so a process that dies leaves both or neither: if
neither, the next scrape measures from the older values and covers the interval; if both, the
snapshot is still in the buffer and is sent again with the same number, which the master recognises.
A snapshot leaves the buffer only after the master has answered for it (``acknowledge``).

The file is synced at every commit (one in fifteen seconds): after a power cut, too, no number is
given out twice. The random part of ``agent_id`` is made with the file, so a lost disk starts a new
series of numbers and not an old one again. A lock keeps a second agent away from the directory.

Bound: the buffer holds at most `buffer_size_max` bytes of compressed snapshots; then the oldest go.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gatewayx.slo.agent.delta import Advance, CounterLast, HistogramLast, Last, LastValues
from gatewayx.slo.agent.readings import Series

FORMAT = 1
"""Version of the tables below; another one starts anew, as if the disk were empty."""

_TABLES = (
    """CREATE TABLE agent (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        agent_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        scraped_at REAL,
        illegible_at REAL
    )""",
    """CREATE TABLE last_values (
        identity TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        state TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE TABLE buffer (seq INTEGER PRIMARY KEY, snapshot BLOB NOT NULL)",
)


class JournalError(Exception):
    """The state directory cannot be used. The installation is to blame."""


@dataclass(frozen=True, slots=True)
class Buffered:
    """A snapshot that the master has not answered for."""

    seq: int
    body: bytes
    """Its JSON."""


class Journal:
    """Last values, send buffer and sequence number. Used from one thread at a time."""

    def __init__(self, directory: Path, agent_name: str, buffer_size_max: int) -> None:
        """Opens the state in `directory`, making it if need be.

        Raises:
            JournalError: another agent uses it, or it cannot be written.
        """
        self._buffer_size_max = buffer_size_max
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"state directory {directory}: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise JournalError(f"state directory {directory}: another agent uses it") from error
        try:
            self._database = _opened_or_remade(directory / "agent.db", agent_name)
        except (OSError, sqlite3.Error) as error:
            os.close(self._lock)
            raise JournalError(f"state directory {directory}: {error}") from error
        (self.agent_id, self._seq) = self._database.execute(
            "SELECT agent_id, seq FROM agent"
        ).fetchone()
        self.buffered_count, self.buffered_bytes = self._database.execute(
            "SELECT count(*), coalesce(sum(length(snapshot)), 0) FROM buffer"
        ).fetchone()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and lets another agent in."""
        self._database.close()
        os.close(self._lock)

    @property
    def next_seq(self) -> int:
        """The number of the next snapshot to be committed."""
        return int(self._seq) + 1

    def last_values(self) -> LastValues:
        """What earlier scrapes left, those of earlier processes included."""
        scraped_at, illegible_at = self._database.execute(
            "SELECT scraped_at, illegible_at FROM agent"
        ).fetchone()
        rows = self._database.execute("SELECT identity, target, state FROM last_values")
        series = {Series(identity, target): _read_state(state) for identity, target, state in rows}
        return LastValues(scraped_at, illegible_at, series)

    def commit(self, step: Advance, snapshot: bytes | None) -> int:
        """Remembers `step` and buffers `snapshot`, which must carry ``next_seq``, or neither.

        Returns:
            How many of the oldest snapshots had to go to keep the buffer within its bound.
        """
        database = self._database
        with database:
            database.execute(
                "UPDATE agent SET scraped_at = ?, illegible_at = ?, seq = seq + ?",
                (step.last.at, step.last.illegible_at, snapshot is not None),
            )
            database.executemany(
                "DELETE FROM last_values WHERE identity = ?", _identities(step.forgotten)
            )
            database.executemany(
                "INSERT OR REPLACE INTO last_values VALUES (?, ?, ?)", _rows(step.changed)
            )
            if snapshot is None:
                return 0
            packed = zlib.compress(snapshot, 1)
            database.execute("INSERT INTO buffer VALUES (?, ?)", (self.next_seq, packed))
            dropped_count, dropped_bytes = self._drop_surplus(self.buffered_bytes + len(packed))
        self._seq += 1
        self.buffered_count += 1 - dropped_count
        self.buffered_bytes += len(packed) - dropped_bytes
        return dropped_count

    def oldest(self) -> Buffered | None:
        """The snapshot to be sent next, or None when the master has everything."""
        row = self._database.execute(
            "SELECT seq, snapshot FROM buffer ORDER BY seq LIMIT 1"
        ).fetchone()
        return None if row is None else Buffered(row[0], zlib.decompress(row[1]))

    def acknowledge(self, seq: int) -> None:
        """Forgets a snapshot: the master has it, or never wants it."""
        with self._database as database:
            row = database.execute(
                "DELETE FROM buffer WHERE seq = ? RETURNING length(snapshot)", (seq,)
            ).fetchone()
        if row is not None:
            self.buffered_count -= 1
            self.buffered_bytes -= row[0]

    def _drop_surplus(self, size: int) -> tuple[int, int]:
        dropped_count = dropped_bytes = 0
        while size - dropped_bytes > self._buffer_size_max:
            (length,) = self._database.execute(
                "DELETE FROM buffer WHERE seq = (SELECT min(seq) FROM buffer)"
                " RETURNING length(snapshot)"
            ).fetchone()
            dropped_count += 1
            dropped_bytes += length
        return dropped_count, dropped_bytes


def _opened_or_remade(path: Path, agent_name: str) -> sqlite3.Connection:
    try:
        return _opened(path, agent_name)
    except sqlite3.OperationalError:
        raise  # the disk or its permissions, not the content
    except sqlite3.DatabaseError:
        # Damaged. What it held is lost; the new agent id keeps its numbers from being reused.
        _set_aside(path)
        return _opened(path, agent_name)


def _opened(path: Path, agent_name: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        (found,) = database.execute("PRAGMA user_version").fetchone()
        if found not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"format {found}")
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        if found == 0:
            agent_id = f"{agent_name}-{secrets.token_hex(6)}"
            database.execute("BEGIN IMMEDIATE")
            for statement in _TABLES:
                database.execute(statement)
            database.execute("INSERT INTO agent VALUES (1, ?, 0, NULL, NULL)", (agent_id,))
            database.execute(f"PRAGMA user_version = {FORMAT}")
            database.commit()
    except sqlite3.Error:
        database.close()
        raise
    return database


def _set_aside(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.replace(Path(f"{path}{suffix}.damaged"))


def _identities(series: Iterable[Series]) -> Iterable[tuple[str]]:
    return ((each.identity,) for each in series)


def _rows(changed: Mapping[Series, Last]) -> Iterable[tuple[str, str, str]]:
    return ((each.identity, each.target, _state(last)) for each, last in changed.items())


def _state(last: Last) -> str:
    if isinstance(last, CounterLast):
        return json.dumps([last.absent_since, last.value])
    # JSON has no infinity: the last bound is always that and is left out.
    return json.dumps([last.absent_since, last.bounds[:-1], last.counts, last.sum])


def _read_state(state: str) -> Last:
    absent_since, *rest = json.loads(state)
    if len(rest) == 1:
        return CounterLast(rest[0], absent_since)
    bounds, counts, latency_sum = rest
    return HistogramLast((*bounds, float("inf")), tuple(counts), latency_sum, absent_since)
