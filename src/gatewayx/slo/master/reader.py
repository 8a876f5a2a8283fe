"""Sums over the rows of a plan.

The database adds up the integers and strings together the histograms of a key: Python parses one
JSON text a key and not one a row. Sums of settled rows are kept, so that asking again costs what
is new since then. Cost: `benchmarks/slo/master_scale.py`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from pydantic_core import from_json
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Select,
    Table,
    and_,
    cast,
    func,
    select,
)

from gatewayx.slo.master import tables
from gatewayx.slo.master.figures import EdgeFigures, Figures, TargetType
from gatewayx.slo.master.histogram import merge_packed
from gatewayx.slo.master.names import Names
from gatewayx.slo.master.plan import Plan, Segment
from gatewayx.slo.master.processors import is_server_error
from gatewayx.slo.master.store import Store
from gatewayx.slo.master.tables import STATUS_CLASSES


@dataclass(frozen=True, slots=True)
class _Source:
    rolled: dict[int, Table]
    raw: Table
    key: str


_SOURCES: dict[TargetType, _Source] = {
    "service": _Source(tables.SERVICE_ROLLED, tables.service_raw, "service_id"),
    "ingress": _Source(tables.METRICS_ROLLED, tables.metrics_raw, "ingress_id"),
}

SUMMED_EDGE_COLUMNS = ("requests", "failures", "latency_sum", "latency_count", "sample_count")

_CLASS_PLACE = {name[0]: place for place, name in enumerate(STATUS_CLASSES)}


def _sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    # PostgreSQL sums BIGINT to NUMERIC, which would arrive as Decimal.
    return cast(func.sum(column), BigInteger)


def _sum_float(column: ColumnElement[Any]) -> ColumnElement[float]:
    return cast(func.sum(column), Float)


def _parse(strung: str | None) -> list[Any]:
    parsed: list[Any] = from_json(f"[{strung}]") if strung else []
    return parsed


EdgeRows = list[tuple[Any, ...]]
"""An edge's id and its `SUMMED_EDGE_COLUMNS`."""

Sums = TypeVar("Sums")


class Cache(Generic[Sums]):
    """Sums of settled segments, the last ones asked for.

    A key carries the count of snapshots folded into its rows, so that a late snapshot makes
    another key and nothing stale is ever found. Memory: some 3 MB an entry at 1,000 services.
    """

    ENTRIES_MAX = 12

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, Sums] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], Sums]) -> Sums:
        """What is known under a key, read if it is not. Never to be changed by the caller."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        sums = read()
        with self._lock:
            self._entries[key] = sums
            while len(self._entries) > self.ENTRIES_MAX:
                self._entries.popitem(last=False)
        return sums


class FiguresReader:
    """Reads sums over plans, by the ids of services, ingress keys or edges."""

    def __init__(self, store: Store, names: Names) -> None:
        self._store = store
        self._names = names
        self._settled: Cache[dict[int, Figures]] = Cache()
        self._settled_edges: Cache[EdgeRows] = Cache()

    def services(
        self, conn: Connection, plan: Plan, ids: Sequence[int] | None = None
    ) -> dict[int, Figures]:
        """Figures of services by id; of all that have rows when `ids` is None."""
        return self._golden(conn, plan, "service", ids)

    def ingress(
        self, conn: Connection, plan: Plan, ids: Sequence[int] | None = None
    ) -> dict[int, Figures]:
        """Figures of ingress keys by id; of all that have rows when `ids` is None."""
        return self._golden(conn, plan, "ingress", ids)

    def _golden(
        self, conn: Connection, plan: Plan, kind: TargetType, ids: Sequence[int] | None
    ) -> dict[int, Figures]:
        found: dict[int, Figures] = {}
        key = _SOURCES[kind].key
        for segment in plan.segments:

            def read(segment: Segment = segment) -> dict[int, Figures]:
                part: dict[int, Figures] = {}
                for row in self._rolled_rows(conn, plan, segment, kind, key, ids):
                    self._collect_rolled(conn, part, row, kind)
                return part

            whole = segment.settled and ids is None
            part = self._settled.get((kind, plan.cluster_id, segment), read) if whole else read()
            for identity, figures in part.items():
                found.setdefault(identity, Figures()).add(figures)
        raw = self.raw_services if kind == "service" else self.raw_ingress
        for identity, figures in raw(conn, plan.raw_id_chunks(), ids):
            found.setdefault(identity, Figures()).add(figures)
        return found

    def edges(
        self, conn: Connection, plan: Plan, ids: Sequence[int] | None = None
    ) -> dict[int, EdgeFigures]:
        """Figures of edges by id."""
        found: dict[int, EdgeFigures] = {}

        def read(table: Table, conditions: Sequence[ColumnElement[bool]]) -> EdgeRows:
            statement = edge_sums(table).where(*conditions)
            if ids is not None:
                statement = statement.where(table.c.edge_id.in_(ids))
            return [tuple(row) for row in conn.execute(statement)]

        for segment in plan.segments:
            table = tables.EDGE_ROLLED[segment.span_s]
            conditions = in_segment(table, plan, segment, keyed=ids is not None)
            if segment.settled and ids is None:
                key = ("edge", plan.cluster_id, segment)
                rows = self._settled_edges.get(key, partial(read, table, conditions))
            else:
                rows = read(table, conditions)
            _add_edge_rows(found, rows)
        for chunk in plan.raw_id_chunks():
            raw = tables.edge_raw
            _add_edge_rows(found, read(raw, [raw.c.snapshot_id.in_(chunk)]))
        return found

    def by_time(
        self, conn: Connection, plan: Plan, kind: TargetType, identity: int
    ) -> tuple[dict[tuple[int, int], Figures], dict[int, Figures]]:
        """Figures of one key by (span_s, start_s) of its rows, and by raw snapshot id."""
        rolled: dict[tuple[int, int], Figures] = {}
        for segment in plan.segments:
            found: dict[int, Figures] = {}
            for row in self._rolled_rows(conn, plan, segment, kind, "start_s", [identity]):
                self._collect_rolled(conn, found, row, kind)
            rolled.update({(segment.span_s, start_s): sums for start_s, sums in found.items()})
        raw: dict[int, Figures] = {}
        reader = self.raw_services if kind == "service" else self.raw_ingress
        for snapshot_id, figures in reader(
            conn, plan.raw_id_chunks(), [identity], by="snapshot_id"
        ):
            raw.setdefault(snapshot_id, Figures()).add(figures)
        return rolled, raw

    def totals(
        self, conn: Connection, plan: Plan, kind: TargetType, ids: Sequence[int] | None = None
    ) -> dict[int, tuple[int, int]]:
        """(requests, errors) by id: all that budgets need, at a fraction of the cost."""
        source = _SOURCES[kind]
        rolled, raw, key = source.rolled, source.raw, source.key
        found: dict[int, tuple[int, int]] = {}
        sources = [
            (
                rolled[segment.span_s],
                in_segment(rolled[segment.span_s], plan, segment, keyed=bool(ids)),
            )
            for segment in plan.segments
        ]
        sources += [(raw, [raw.c.snapshot_id.in_(chunk)]) for chunk in plan.raw_id_chunks()]
        for table, conditions in sources:
            c = table.c
            statement = select(c[key], _sum(c.total), _sum(c.errors)).where(*conditions)
            if ids is not None:
                statement = statement.where(c[key].in_(ids))
            for identity, total, errors in conn.execute(statement.group_by(c[key])).all():
                before = found.get(identity, (0, 0))
                found[identity] = (before[0] + total, before[1] + errors)
        return found

    def raw_services(
        self,
        conn: Connection,
        snapshot_chunks: Iterable[Sequence[int]],
        ids: Sequence[int] | None = None,
        by: str | None = None,
    ) -> Iterator[tuple[int, Figures]]:
        """Sums over raw snapshots; a service may come more than once."""
        table = tables.service_raw
        columns: list[ColumnElement[Any]] = [
            self._string(table.c.successes),
            self._string(table.c.failures),
            _sum(table.c.tls_requests),
            _sum(table.c.tls_total),
        ]
        for row in self._golden_raw(conn, table, "service_id", columns, snapshot_chunks, ids, by):
            figures = self._raw_figures(conn, row)
            for codes in (*_parse(row[-4]), *_parse(row[-3])):
                _add_codes(figures, codes)
            figures.tls_requests, figures.tls_total = row[-2], row[-1]
            yield row[0], figures

    def raw_ingress(
        self,
        conn: Connection,
        snapshot_chunks: Iterable[Sequence[int]],
        ids: Sequence[int] | None = None,
        by: str | None = None,
    ) -> Iterator[tuple[int, Figures]]:
        """Sums over raw snapshots; an ingress key may come more than once."""
        table = tables.metrics_raw
        columns: list[ColumnElement[Any]] = [self._string(table.c.requests)]
        for row in self._golden_raw(conn, table, "ingress_id", columns, snapshot_chunks, ids, by):
            figures = self._raw_figures(conn, row)
            for methods in _parse(row[-1]):
                for method, codes in methods.items():
                    _add_codes(figures, codes)
                    counted = figures.methods.setdefault(method, [0, 0])
                    counted[0] += sum(codes.values())
                    counted[1] += sum(
                        count for code, count in codes.items() if is_server_error(code)
                    )
            yield row[0], figures

    def _string(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        return func.aggregate_strings(self._store.as_text(column), ",")

    def _rolled_rows(
        self,
        conn: Connection,
        plan: Plan,
        segment: Segment,
        kind: TargetType,
        by: str,
        ids: Sequence[int] | None,
    ) -> Iterable[Any]:
        table, key = _SOURCES[kind].rolled[segment.span_s], _SOURCES[kind].key
        c = table.c
        extra = (
            [_sum(c.tls_requests), _sum(c.tls_total)]
            if kind == "service"
            else [self._string(c.methods)]
        )
        statement = (
            select(
                c[by],
                c.bounds_id,
                self._string(c.buckets),
                self._string(c.other_buckets),
                _sum(c.total),
                _sum(c.errors),
                _sum_float(c.latency_sum),
                _sum(c.latency_count),
                _sum(c.sample_count),
                *(_sum(c[f"status_{name}"]) for name in STATUS_CLASSES),
                *extra,
            )
            .where(*in_segment(table, plan, segment, keyed=ids is not None))
            .group_by(c[by], c.bounds_id)
        )
        if ids is not None:
            statement = statement.where(c[key].in_(ids))
        return conn.execute(statement).all()

    def _golden_raw(
        self,
        conn: Connection,
        table: Table,
        key: str,
        extra: Sequence[ColumnElement[Any]],
        snapshot_chunks: Iterable[Sequence[int]],
        ids: Sequence[int] | None,
        by: str | None,
    ) -> Iterator[Any]:
        c = table.c
        by = by or key
        for chunk in snapshot_chunks:
            statement = (
                select(
                    c[by],
                    c.bounds_id,
                    self._string(c.buckets),
                    _sum(c.total),
                    _sum(c.errors),
                    _sum_float(c.latency_sum),
                    _sum(c.latency_count),
                    func.count(),
                    *extra,
                )
                .where(c.snapshot_id.in_(chunk))
                .group_by(c[by], c.bounds_id)
            )
            if ids is not None:
                statement = statement.where(c[key].in_(ids))
            yield from conn.execute(statement).all()

    def _raw_figures(self, conn: Connection, row: Any) -> Figures:
        figures = Figures(
            total=row[3],
            errors=row[4],
            latency_sum=row[5],
            latency_count=row[6],
            sample_count=row[7],
        )
        self._add_strung(conn, figures, row[1], row[2])
        return figures

    def _collect_rolled(
        self, conn: Connection, found: dict[int, Figures], row: Any, kind: TargetType
    ) -> None:
        figures = found.get(row[0])
        if figures is None:
            figures = found[row[0]] = Figures()
        figures.total += row[4]
        figures.errors += row[5]
        figures.latency_sum += row[6]
        figures.latency_count += row[7]
        figures.sample_count += row[8]
        figures.classes = [a + b for a, b in zip(figures.classes, row[9:14], strict=True)]
        self._add_strung(conn, figures, row[1], row[2])
        for others in _parse(row[3]):
            for bounds_id, packed in others.items():
                length = len(self._names.bound_set(conn, int(bounds_id)).keys)
                figures.add_histogram(int(bounds_id), merge_packed([packed], length))
        if kind == "service":
            figures.tls_requests += row[14]
            figures.tls_total += row[15]
        else:
            _add_methods(figures, _parse(row[14]))

    def _add_strung(
        self, conn: Connection, figures: Figures, bounds_id: int | None, strung: str | None
    ) -> None:
        if bounds_id is not None and strung:
            length = len(self._names.bound_set(conn, bounds_id).keys)
            figures.add_histogram(bounds_id, merge_packed(_parse(strung), length))


def _add_edge_rows(found: dict[int, EdgeFigures], rows: EdgeRows) -> None:
    for row in rows:
        figures = found.get(row[0])
        if figures is None:
            found[row[0]] = EdgeFigures(*row[1:])
        else:
            figures.add(EdgeFigures(*row[1:]))


def in_segment(
    table: Table, plan: Plan, segment: Segment, *, keyed: bool
) -> list[ColumnElement[bool]]:
    """Conditions for the rows of a segment; `keyed` when few keys of it are wanted."""
    c = table.c
    conditions = [c.cluster_id == plan.cluster_id]
    if keyed and (segment.to_s - segment.from_s) // segment.span_s <= 1000:
        # Named starts turn the read of one key into a seek a row instead of a scan of all keys.
        conditions.append(c.start_s.in_(range(segment.from_s, segment.to_s, segment.span_s)))
    else:
        conditions.append(and_(c.start_s >= segment.from_s, c.start_s < segment.to_s))
    return conditions


def edge_sums(table: Table) -> Select[Any]:
    """Sums by edge over a raw or a rolled-up table: the id, then `SUMMED_EDGE_COLUMNS`."""
    c = table.c
    return select(
        c.edge_id,
        _sum(c.requests),
        _sum(c.failures),
        _sum_float(c.latency_sum),
        _sum(c.latency_count),
        _sum(c.sample_count) if "sample_count" in c else func.count(),
    ).group_by(c.edge_id)


def _add_codes(figures: Figures, codes: dict[str, int]) -> None:
    for code, count in codes.items():
        place = _CLASS_PLACE.get(code[:1])
        if place is not None:
            figures.classes[place] += count


def _add_methods(figures: Figures, rows: list[dict[str, list[int]]]) -> None:
    for methods in rows:
        for method, (count, errors) in methods.items():
            counted = figures.methods.setdefault(method, [0, 0])
            counted[0] += count
            counted[1] += errors
