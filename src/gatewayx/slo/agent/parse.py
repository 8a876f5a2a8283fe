"""Reads the Prometheus text format: one text in, samples and counts of bad lines out.

Touches nothing but its arguments. Knows lines, labels and numbers; what a metric means is decided
by ``normalise``.

Theory of operation. ``prometheus_client``'s parser is the reference, but it looks at every
character in Python. Nearly every real line is plain: ``name{labels} number`` without an escape,
perhaps followed by a timestamp or an exemplar. The lines of one histogram differ only in ``le``,
so once that is cut out their label text is the same string, which is checked and split once. Every
line that is not plain goes to the reference, and a differential property test holds both to the
same answer. Measured by ``benchmarks/slo/agent_parse.py`` on 100,000 lines (28 MB, 10 to 12 labels
a line; one core of a shared virtual machine, November 2026): ``prometheus_client`` 0.26 takes 8.9 s
of CPU, this module 0.56 s. A line that must go to the reference costs about 0.1 ms.

One bad line never fails a text. Two kinds are told apart, because a series that is absent means
something (see ``delta``) and a series that could not be read does not:

- the series is legible, its value is not (``NaN``, ``abc``): the sample is kept with ``nan``;
- nothing is legible: only ``illegible_lines`` counts it.

A text must end with a line feed; without one its last value may have lost digits, so that line is
not read and ``truncated`` is set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

LINE_LENGTH_MAX = 65_536
"""Longest line that is read (characters). Exporters stay far below it; it stops a line of escapes,
on which the reference takes time that grows with the square of the length."""

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*"'
_LABELS = rf"(?:{_LABEL}(?:,{_LABEL})*)?"
_NUMBER = r"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"
_first_name = re.compile(_NAME).match
_plain_labels = re.compile(_LABELS).fullmatch
_label_pairs = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"]*)"').findall
_plain_bound = re.compile(rf"{_NUMBER}|\+Inf").fullmatch
_plain_tail = re.compile(rf"({_NUMBER})(?: -?[0-9]+(?:\.[0-9]+)?)?(?: # .*)?").fullmatch
_legible_series = re.compile(rf"({_NAME})(?:\{{({_LABELS}),?\}})?(?=\s|$)").match

Labels = Mapping[str, str]
"""Label names and values, ``le`` taken out. Lines with the same label text share one object."""


class Sample(NamedTuple):
    """One line: a series and its value, which is ``nan`` where the line's number is unusable."""

    name: str
    labels: Labels
    le: str | None
    value: float


@dataclass(frozen=True, slots=True)
class ParsedText:
    """Everything that was read from one text."""

    samples: tuple[Sample, ...]
    sample_lines: int
    """Lines that carry a sample, wanted or not, good or bad."""
    bad_lines: int
    """Lines, `illegible_lines` among them, that could not be read whole."""
    illegible_lines: int
    truncated: bool


def parse(text: bytes, wanted: Container[str]) -> ParsedText:
    """Reads `text`, keeping the samples whose metric name is in `wanted`."""
    reader = _Reader(wanted)
    truncated = bool(text) and not text.endswith(b"\n")
    whole = text[: text.rfind(b"\n") + 1]
    try:
        reader.read_lines(whole.decode())
    except UnicodeDecodeError:
        for line in whole.split(b"\n"):
            try:
                reader.read_lines(line.decode())
            except UnicodeDecodeError:
                reader.refuse_illegible_line()
    if truncated:
        reader.refuse_illegible_line()
    return ParsedText(
        samples=tuple(reader.samples),
        sample_lines=reader.sample_lines,
        bad_lines=reader.bad_lines,
        illegible_lines=reader.illegible_lines,
        truncated=truncated,
    )


def read_reference(line: str) -> tuple[str, Labels, float]:
    """What ``prometheus_client`` reads in one line: name, labels (with ``le``) and value.

    Raises:
        ValueError: it is not a sample.
    """
    try:
        (family,) = text_string_to_metric_families(line)
        (sample,) = family.samples
    except (IndexError, TypeError) as error:
        raise ValueError(f"not a sample: {line[:80]!r}") from error
    return sample.name, sample.labels, float(sample.value)


class _Reader:
    def __init__(self, wanted: Container[str]) -> None:
        self.samples: list[Sample] = []
        self.sample_lines = 0
        self.bad_lines = 0
        self.illegible_lines = 0
        self._wanted = wanted
        self._labels_of: dict[str, Labels | None] = {}

    def refuse_illegible_line(self) -> None:
        self.sample_lines += 1
        self.bad_lines += 1
        self.illegible_lines += 1

    def read_lines(self, text: str) -> None:
        wanted, labels_of, keep = self._wanted, self._labels_of, self.samples.append
        for line in text.split("\n"):
            name, _, rest = line.partition("{")
            if name not in wanted:
                self._read_odd_line(line)
                continue
            # Invariant: without escapes, the first `"} ` ends the labels if a whole label list
            # stands before it. `body` is that list less its last quote.
            body, _, tail = rest.partition('"} ')
            number = _plain_tail(tail)
            if number is None or "\\" in body:
                self._read_odd_line(line)
                continue
            body, le = _cut_bound(body)
            try:
                labels = labels_of[body]
            except KeyError:
                labels = labels_of[body] = _split_plain_labels(body)
            value = float(number[1])
            if labels is None or math.isinf(value) or len(line) > LINE_LENGTH_MAX:
                self._read_odd_line(line)
                continue
            self.sample_lines += 1
            keep(Sample(name, labels, le, value))

    def _read_odd_line(self, line: str) -> None:
        line = line.strip()
        if not line or line.startswith("#"):
            return
        name = _first_name(line)
        if name is not None and name[0] not in self._wanted:
            self.sample_lines += 1
            return
        if len(line) > LINE_LENGTH_MAX or (name is None and not line.startswith("{")):
            self.refuse_illegible_line()
            return
        try:
            sample: Sample | None = _sample(*read_reference(line))
        except ValueError:
            sample = _legible_sample(line)
        if sample is None:
            self.refuse_illegible_line()
            return
        self.sample_lines += 1
        if sample.name in self._wanted:
            self.bad_lines += math.isnan(sample.value)
            self.samples.append(sample)


def _cut_bound(body: str) -> tuple[str, str | None]:
    """Takes ``le`` out of a label list without escapes.

    A value may itself read ``,le=``. Then the quote before it opens a value, so the number of
    quotes up to there is even, and nothing is cut.
    """
    if body.startswith('le="'):
        bound, quote, after = body[4:].partition('"')
        whole = _plain_bound(bound) and (after.startswith(",") if quote else True)
        return (after[1:], bound) if whole else (body, None)
    before, found, rest = body.partition('",le="')
    if not found or before.count('"') % 2 == 0:
        return body, None
    bound, quote, after = rest.partition('"')
    whole = _plain_bound(bound) and (after.startswith(",") if quote else True)
    return (before + quote + after, bound) if whole else (body, None)


def _split_plain_labels(body: str) -> Labels | None:
    """The labels of a list less its last quote, or None where the reference has to judge."""
    if not body:
        return {}
    if _plain_labels(body + '"') is None:
        return None
    count = (body.count('"') + 1) // 2
    if body.count('="') == count and body.count('",') == count - 1:
        fields = body.replace('="', '",').split('",')
        labels = dict(zip(fields[::2], fields[1::2], strict=True))
    else:  # a value begins with a comma or ends with an equals sign
        labels = dict(_label_pairs(body + '"'))
    if len(labels) != count or "le" in labels or "__name__" in labels:
        return None
    return labels


def _sample(name: str, labels: Labels, value: float) -> Sample:
    labels = dict(labels)
    le = labels.pop("le", None)
    return Sample(name, labels, le, value if math.isfinite(value) else math.nan)


def _legible_sample(line: str) -> Sample | None:
    """A sample without a usable value, where at least the series can be made out."""
    series = _legible_series(line)
    if series is None:
        return None
    try:
        return _sample(*read_reference(f"{series[0]} NaN"))
    except ValueError:
        return None
