"""Families as exposition text, quickly: a thousand proxies make tens of thousands of lines.

Both formats write samples alike. Text names a counter's family with `_total` and OpenMetrics
without; text writes bucket bounds in their shortest form (`1`), as Go programs and Envoy do, and
OpenMetrics asks for canonical numbers (`1.0`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from gatewayx.admin.state import Family

LABELS_CACHED_COUNT = 1 << 16


def write(rows: Iterable[tuple[Any, ...]], *, openmetrics: bool) -> bytes:
    """The families' part of a page, without OpenMetrics' end mark."""
    return "".join(piece for row in rows for piece in _family(Family(*row), openmetrics)).encode()


def _family(family: Family, openmetrics: bool) -> Iterator[str]:
    name = family.series_name.removesuffix("_total") if openmetrics else family.series_name
    if family.kind != "counter":
        name = family.name
    yield f"# HELP {name} {_escaped_help(family.help, openmetrics)}\n# TYPE {name} {family.kind}\n"
    if family.kind == "histogram":
        yield from _histograms(family, openmetrics)
        return
    series = family.series_name
    names = family.label_names
    for labels, value in family.samples:
        text = _labels(names, tuple(labels))
        yield f"{series}{{{text}}} {value}\n" if text else f"{series} {value}\n"


def _histograms(family: Family, openmetrics: bool) -> Iterator[str]:
    write_bound = repr if openmetrics else bound_text
    name, names = family.name, family.label_names
    heads = [f'{name}_bucket{{le="{write_bound(float(bound))}"' for bound in family.bounds]
    heads.append(f'{name}_bucket{{le="+Inf"')
    for labels, buckets, total in family.samples:
        text = _labels(names, tuple(labels))
        tail = f",{text}}}" if text else "}"
        yield "".join(
            [f"{head}{tail} {count}\n" for head, count in zip(heads, buckets, strict=True)]
        )
        braced = f"{{{text}}}" if text else ""
        yield f"{name}_count{braced} {buckets[-1]}\n{name}_sum{braced} {total}\n"


def bound_text(bound: float) -> str:
    """A bucket's bound in its shortest form without an exponent: `0.5`, `1`, `3600000`."""
    return f"{bound:.0f}" if bound.is_integer() else f"{bound:g}"


@lru_cache(LABELS_CACHED_COUNT)
def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(
        f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escaped_help(text: str, openmetrics: bool) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if openmetrics else escaped
