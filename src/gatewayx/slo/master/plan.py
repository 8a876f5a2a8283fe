"""Which rows answer for a range of time.

A range is `(from_ms, to_ms]`: a snapshot belongs to the instant at which its interval ended, as a
scrape does in Prometheus. A plan covers the range with whole rolled-up rows, coarsest first, and
takes the rest from raw snapshots::

    from                                                                to = now
     |raw|5m 5m|hour hour hour hour|day day day ... day|today's row so far|raw, not yet rolled|

Invariant: every stored snapshot of the range is covered exactly once, because a snapshot is in all
three spans or (`rolled` false) in none, and both are read in one transaction.
Cost: rows read grow with the spans, not with the snapshots: 30 days are 31 rows a key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, false, func, or_, select

from gatewayx.slo.master import tables
from gatewayx.slo.master.tables import DAY_S, HOUR_S, SPANS_S

NAMED_RANGES_S: Final = {
    "1h": HOUR_S,
    "6h": 6 * HOUR_S,
    "24h": DAY_S,
    "7d": 7 * DAY_S,
    "30d": 30 * DAY_S,
}
RANGE_MAX_S: Final = 180 * DAY_S

# Ids in one IN list; both databases take more.
_IDS_MAX = 5000


class BadRange(ValueError):
    """A range that cannot be answered; the caller is to blame."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The instants after `from_ms` up to and including `to_ms`."""

    from_ms: int
    to_ms: int

    @property
    def length_s(self) -> float:
        """Seconds from one end to the other."""
        return (self.to_ms - self.from_ms) / 1000

    def aligned(self, now_ms: int, fine_s: int) -> TimeRange:
        """The range widened to what is kept and worth reading at its age and length.

        Up to 6 h is exact. Longer ranges begin and end on whole hours, those of more than 7 days
        on whole days (UTC), and so does, by the hour, all that is older than the fine rows.
        """
        if self.length_s > 7 * DAY_S:
            unit_s = DAY_S
        elif self.length_s > 6 * HOUR_S:
            unit_s = HOUR_S
        else:
            return self.on_kept_rows(now_ms, fine_s)
        unit_ms = unit_s * 1000
        to_ms = self.to_ms if self.to_ms >= now_ms else -(-self.to_ms // unit_ms) * unit_ms
        return TimeRange(self.from_ms // unit_ms * unit_ms, to_ms)

    def on_kept_rows(self, now_ms: int, fine_s: int) -> TimeRange:
        """The same range with ends older than the fine rows widened to whole hours."""
        oldest_ms = now_ms - fine_s * 1000
        hour_ms = HOUR_S * 1000
        from_ms, to_ms = self.from_ms, self.to_ms
        if from_ms < oldest_ms:
            from_ms = from_ms // hour_ms * hour_ms
        if to_ms < oldest_ms:
            to_ms = -(-to_ms // hour_ms) * hour_ms
        return TimeRange(from_ms, to_ms)


def range_before(now_ms: int, length_s: int) -> TimeRange:
    """The last `length_s` seconds."""
    return TimeRange(now_ms - length_s * 1000, now_ms)


def parse_range(
    now_ms: int, named: str | None, from_time: datetime | None, to_time: datetime | None
) -> TimeRange:
    """`time_range` or `from`/`to` of a request; the last hour when neither is given.

    Raises:
        BadRange: unknown name, both forms at once, no zone, an empty or too long range.
    """
    if from_time is None and to_time is None:
        length_s = NAMED_RANGES_S.get(named or "1h")
        if length_s is None:
            raise BadRange(f"time_range {named!r} is not one of {', '.join(NAMED_RANGES_S)}")
        return range_before(now_ms, length_s)
    if named is not None:
        raise BadRange("time_range and from/to exclude each other")
    if from_time is None:
        raise BadRange("to needs from")
    ends = []
    for name, moment in (("from", from_time), ("to", to_time)):
        if moment is None:
            ends.append(now_ms)
        elif moment.tzinfo is None:
            raise BadRange(f"{name} needs a time zone, such as 2026-01-01T00:00:00Z")
        else:
            ends.append((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))
    from_ms, to_ms = ends[0], min(ends[1], now_ms)
    if to_ms <= from_ms:
        raise BadRange("the range is empty: from is not before to, or in the future")
    if to_ms - from_ms > RANGE_MAX_S * 1000:
        raise BadRange(f"a range is at most {RANGE_MAX_S // DAY_S} days")
    return TimeRange(from_ms, to_ms)


@dataclass(frozen=True, slots=True)
class Segment:
    """Rolled-up rows of one span with `from_s <= start_s < to_s`."""

    span_s: int
    from_s: int
    to_s: int
    settled: bool = False
    """Whether the rows seldom change: all but the newest row, which has a segment of its own."""
    snapshot_count: int = 0
    """Snapshots folded into the rows: equal segments with equal counts hold equal rows."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows that cover a range of one cluster."""

    cluster_id: int
    time_range: TimeRange
    segments: tuple[Segment, ...]
    raw_ids: tuple[int, ...]
    covered_ms: int
    """Time within the range about which some agent reported."""

    @property
    def covered_s(self) -> float:
        """`covered_ms` in seconds."""
        return self.covered_ms / 1000

    def rate(self, count: float) -> float:
        """`count` events of this range a second, over the time that was observed."""
        return count * 1000 / self.covered_ms if self.covered_ms else 0.0

    def raw_id_chunks(self) -> Iterable[tuple[int, ...]]:
        """The raw snapshots in portions that fit one statement."""
        for start in range(0, len(self.raw_ids), _IDS_MAX):
            yield self.raw_ids[start : start + _IDS_MAX]


def plan_range(
    conn: Connection,
    cluster_id: int,
    time_range: TimeRange,
    spans_s: tuple[int, ...] = SPANS_S,
) -> Plan:
    """Cover a range; call inside the transaction that reads the rows.

    `spans_s` names the rolled-up spans that may be used, coarsest first.
    """
    newest_ms = _newest_ms(conn, cluster_id)
    to_ms = time_range.to_ms
    if to_ms >= newest_ms:
        # Nothing lies past the end, so that the rows still being filled may be taken whole.
        to_ms = -(-max(to_ms, newest_ms) // (DAY_S * 1000)) * DAY_S * 1000
    segments, raw_parts = _cover(time_range.from_ms, to_ms, spans_s)
    raw = _raw_snapshots(conn, cluster_id, TimeRange(time_range.from_ms, to_ms), raw_parts)
    covered_ms = union_ms((start_ms, end_ms) for _, start_ms, end_ms in raw)
    segments, rolled_ms = _with_coverage(conn, cluster_id, segments)
    covered_ms += rolled_ms
    length_ms = time_range.to_ms - time_range.from_ms
    return Plan(
        cluster_id,
        time_range,
        segments,
        tuple(row[0] for row in raw),
        min(covered_ms, max(length_ms, 0)),
    )


def union_ms(intervals: Iterable[tuple[int, int]]) -> int:
    """The length of the union of intervals: time that two agents saw counts once."""
    total, reached = 0, None
    for start_ms, end_ms in sorted(intervals):
        begin = start_ms if reached is None else max(start_ms, reached)
        total += max(end_ms - begin, 0)
        reached = end_ms if reached is None else max(reached, end_ms)
    return total


def _cover(
    from_ms: int, to_ms: int, spans_s: tuple[int, ...]
) -> tuple[tuple[Segment, ...], list[tuple[int, int]]]:
    segments: list[Segment] = []
    rest = [(from_ms, to_ms)]
    for span_s in spans_s:
        span_ms = span_s * 1000
        remaining = []
        for start, end in rest:
            first, last = -(-start // span_ms) * span_ms, end // span_ms * span_ms
            if first >= last:
                remaining.append((start, end))
                continue
            # The newest row changes with every fold; the rows before it are settled.
            newest = last - span_ms if end == to_ms else last
            if first < newest:
                segments.append(Segment(span_s, first // 1000, newest // 1000, settled=True))
            if newest < last:
                segments.append(Segment(span_s, newest // 1000, last // 1000))
            remaining += [part for part in ((start, first), (last, end)) if part[0] < part[1]]
        rest = remaining
    return tuple(segments), rest


def _newest_ms(conn: Connection, cluster_id: int) -> int:
    columns = tables.snapshots.c
    newest = conn.execute(select(func.max(columns.end_ms)).where(columns.cluster_id == cluster_id))
    return newest.scalar() or 0


def _raw_snapshots(
    conn: Connection, cluster_id: int, time_range: TimeRange, parts: list[tuple[int, int]]
) -> list[tuple[int, int, int]]:
    columns = tables.snapshots.c

    def within(from_ms: int, to_ms: int) -> ColumnElement[bool]:
        return and_(columns.end_ms > from_ms, columns.end_ms <= to_ms)

    found: dict[int, tuple[int, int, int]] = {}
    query = select(columns.id, columns.start_ms, columns.end_ms).where(
        columns.cluster_id == cluster_id
    )
    unrolled = query.where(columns.rolled == false(), within(time_range.from_ms, time_range.to_ms))
    edges = query.where(or_(*(within(*part) for part in parts))) if parts else None
    for statement in (unrolled, edges):
        if statement is not None:
            found.update((row[0], (row[0], row[1], row[2])) for row in conn.execute(statement))
    return list(found.values())


def _with_coverage(
    conn: Connection, cluster_id: int, segments: tuple[Segment, ...]
) -> tuple[tuple[Segment, ...], int]:
    """The segments with their snapshot counts, and the time that they cover."""
    columns, counted, total_ms = tables.coverage.c, [], 0
    for segment in segments:
        covered_ms, snapshot_count = conn.execute(
            select(func.sum(columns.covered_ms), func.sum(columns.snapshot_count)).where(
                columns.cluster_id == cluster_id,
                columns.span_s == segment.span_s,
                columns.start_s >= segment.from_s,
                columns.start_s < segment.to_s,
            )
        ).one()
        total_ms += int(covered_ms or 0)
        if snapshot_count:
            counted.append(replace(segment, snapshot_count=int(snapshot_count)))
    return tuple(counted), total_ms


def span_start_s(end_ms: int, span_s: int) -> int:
    """The row that a snapshot belongs to: `start_s` with `start < end <= start + span`."""
    return (end_ms - 1) // (span_s * 1000) * span_s
