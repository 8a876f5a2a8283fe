"""A fault policy, as users write it.

The format is that of the HTTP fault injection executor for Envoy and Istio, so that one policy file
serves the gateway and a mesh; what goes beyond it is off unless a policy names it. Field names are
part of the contract. Times are in milliseconds where a name ends in `_ms`, else in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictFloat, StrictInt
from pydantic_core import SchemaError, SchemaValidator, core_schema

from gatewayx.chaos.section import Finding, PolicySection

DELAY_MAX_MS = 30_000
"""Longest delay."""

START_DELAY_MAX_MS = 3_600_000
DURATION_MAX_SECONDS = 30 * 24 * 3600
BODY_MAX_CHARS = 16 << 10
PATTERN_MAX_CHARS = 1024
RULES_MAX_COUNT = 32
HEADERS_MAX_COUNT = 32

ANY = "*"
"""What a selector writes for every service or namespace."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?\Z")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")


def _dns_label(name: str) -> str:
    if not _NAME.match(name):
        raise ValueError(
            "must be 1 to 63 of a-z, 0-9, '-' and '.', with a letter or digit at both ends"
        )
    return name


def _token(name: str) -> str:
    if not _TOKEN.match(name):
        raise ValueError("is not the name of a header field")
    return name


def _pattern(pattern: str) -> str:
    """A regular expression of linear time: the syntax of Rust's `regex`, which runs it."""
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError as error:
        reason = str(error).rpartition("error: ")[2].strip()
        raise ValueError(f"is not a regular expression: {reason}") from None
    return pattern


Milliseconds = Annotated[StrictInt | StrictFloat, Field(allow_inf_nan=False)]
HeaderName = Annotated[str, AfterValidator(_token)]
Text = Annotated[str, Field(max_length=PATTERN_MAX_CHARS)]


class Metadata(PolicySection):
    """What a policy is known by."""

    name: Annotated[str, AfterValidator(_dns_label)]


class Selector(PolicySection):
    """Which traffic a policy is for; `*` is any. In the gateway: a proxy's name and namespace."""

    service: Annotated[str, Field(min_length=1, max_length=253)] = ANY
    namespace: Annotated[str, Field(min_length=1, max_length=253)] = ANY


class StringMatch(PolicySection):
    """A test of a text: exactly one of `exact`, `prefix` and `regex`.

    `regex` is found anywhere in the text unless it has anchors.
    """

    exact: Text | None = None
    prefix: Text | None = None
    regex: Annotated[Text, AfterValidator(_pattern)] | None = None

    @classmethod
    def findings(cls, data: Mapping[str, Any]) -> Iterator[Finding]:
        """One of the three, not none and not two."""
        given = [key for key in ("exact", "prefix", "regex") if data.get(key) is not None]
        if len(given) != 1:
            told = f", not {' and '.join(given)}" if given else ""
            yield (), f"must have exactly one of exact, prefix and regex{told}"


class HeaderMatch(StringMatch):
    """A test of a header field: any of its values in the request may pass it."""

    name: HeaderName


class Match(PolicySection):
    """Which requests a rule is for. What is absent matches any."""

    method: StringMatch | None = None
    path: StringMatch | None = None
    headers: Annotated[
        tuple[HeaderMatch, ...], Field(strict=False, max_length=HEADERS_MAX_COUNT)
    ] = ()


class Delay(PolicySection):
    """How long a request is held: always so long, or drawn anew for each.

    `uniform` draws between `min_ms` and `max_ms`; `normal` around `mean_ms` with `stddev_ms`;
    `pareto` from `scale_ms` upwards with `shape`. What is drawn is cut to 0 and 30,000 ms.
    """

    fixed_delay_ms: Milliseconds | None = None
    distribution: Literal["uniform", "normal", "pareto"] | None = None
    min_ms: Milliseconds | None = None
    max_ms: Milliseconds | None = None
    mean_ms: Milliseconds | None = None
    stddev_ms: Milliseconds | None = None
    scale_ms: Milliseconds | None = None
    shape: Annotated[StrictInt | StrictFloat, Field(allow_inf_nan=False, gt=0, le=100)] | None = (
        None
    )

    @classmethod
    def findings(cls, data: Mapping[str, Any]) -> Iterator[Finding]:
        """Bounds that every time has, and the parameters that each distribution takes."""
        for key in _DELAY_TIMES:
            value = data.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool):
                if value > DELAY_MAX_MS:
                    yield (key,), f"is {value} ms; the longest delay is {DELAY_MAX_MS} ms"
                elif value < 0:
                    yield (key,), "must be at least 0"
        distribution = data.get("distribution")
        if (data.get("fixed_delay_ms") is None) == (distribution is None):
            yield (), "must have either fixed_delay_ms or distribution"
        takes = _PARAMETERS.get(distribution, ()) if isinstance(distribution, str) else ()
        for key in takes:
            if data.get(key) is None:
                yield (key,), f"is required by distribution {distribution}"
        for key in sorted({key for keys in _PARAMETERS.values() for key in keys} - {*takes}):
            if data.get(key) is not None:
                whose = distribution or "fixed_delay_ms"
                yield (key,), f"is not a parameter of {whose}"
        low, high = data.get("min_ms"), data.get("max_ms")
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            yield ("min_ms",), "must not be above max_ms"


_PARAMETERS = {
    "uniform": ("min_ms", "max_ms"),
    "normal": ("mean_ms", "stddev_ms"),
    "pareto": ("scale_ms", "shape"),
}
_DELAY_TIMES = ("fixed_delay_ms", "min_ms", "max_ms", "mean_ms", "stddev_ms", "scale_ms")


class Abort(PolicySection):
    """The answer in place of the upstream's: 400 to 599, or 200 to 599 with `allow_success`."""

    httpStatus: StrictInt
    body: Annotated[str, Field(max_length=BODY_MAX_CHARS)] | None = None
    allow_success: bool = False

    @classmethod
    def findings(cls, data: Mapping[str, Any]) -> Iterator[Finding]:
        """The range of the status, which `allow_success` widens."""
        status = data.get("httpStatus")
        lowest = 200 if data.get("allow_success") is True else 400
        if isinstance(status, int) and not isinstance(status, bool):
            if not lowest <= status <= 599:
                more = "" if lowest == 200 else " (200 to 599 with allow_success: true)"
                yield ("httpStatus",), f"must be 400 to 599{more}" if more else "must be 200 to 599"
            elif status in (204, 205, 304) and data.get("body"):
                yield ("body",), f"a response with status {status} has no body"


class Truncate(PolicySection):
    """Cuts the response's body after so many bytes; shorter bodies pass whole."""

    after_bytes: Annotated[StrictInt, Field(ge=0, le=1 << 40)]


class Throttle(PolicySection):
    """Passes the response's body on no faster than this."""

    bytes_per_second: Annotated[StrictInt, Field(ge=1, le=1 << 40)]


class SampleBy(PolicySection):
    """Decides by the value of a header field: the same value is always hit or always spared.

    Requests without the field are spared.
    """

    header: HeaderName


class Fault(PolicySection):
    """What happens to a share of the requests that a rule matches.

    Attributes:
        percentage: The share, 0 to 100; a rule of 0 spares what it matches.
        start_delay_ms: Wait this long after the request arrived, then inject.
        duration_seconds: The rule ends by itself so long after its policy was applied; 0 = never.
        seed: Makes the choice the same in every run: of the n-th request that matches.
        max_active_faults: Requests that may be held or cut at a time, over all workers; further
            ones are spared. 0 = no limit.
    """

    percentage: Annotated[StrictInt | StrictFloat, Field(ge=0, le=100, allow_inf_nan=False)]
    start_delay_ms: Annotated[StrictInt, Field(ge=0, le=START_DELAY_MAX_MS)] = 0
    duration_seconds: Annotated[
        StrictInt | StrictFloat, Field(ge=0, le=DURATION_MAX_SECONDS, allow_inf_nan=False)
    ] = 0
    delay: Delay | None = None
    abort: Abort | None = None
    reset: bool = False
    truncate: Truncate | None = None
    throttle: Throttle | None = None
    sample_by: SampleBy | None = None
    seed: Annotated[StrictInt, Field(ge=0, le=(1 << 63) - 1)] | None = None
    max_active_faults: Annotated[StrictInt, Field(ge=0, le=1_000_000)] = 0

    @classmethod
    def findings(cls, data: Mapping[str, Any]) -> Iterator[Finding]:
        """Something has to happen, and what happens has to be possible together."""
        kinds = [key for key in ("delay", "abort", "truncate", "throttle") if data.get(key)]
        kinds += ["reset"] if data.get("reset") is True else []
        if not kinds and not any(data.get(key) is not None for key in ("delay", "abort")):
            yield (), "must have a delay or an abort (or reset, truncate, throttle)"
        ends = [key for key in ("abort", "reset") if key in kinds]
        if len(ends) == 2:
            yield ("reset",), "abort already answers the request; leave one of them out"
        for key in ("truncate", "throttle"):
            if ends and key in kinds:
                yield (key,), f"{ends[0]} leaves no response to {key}"


class Rule(PolicySection):
    """Requests, and the fault for them. The first rule that matches decides."""

    match: Match = Match()
    fault: Fault


class Spec(PolicySection):
    """Whom a policy is for, and its rules."""

    selector: Selector = Selector()
    rules: Annotated[tuple[Rule, ...], Field(strict=False, max_length=RULES_MAX_COUNT)]

    @classmethod
    def findings(cls, data: Mapping[str, Any]) -> Iterator[Finding]:
        """A policy without a rule would do nothing."""
        if isinstance(data.get("rules"), list | tuple) and not data["rules"]:
            yield ("rules",), "must have at least one rule"


class Policy(PolicySection):
    """One policy, under one name."""

    metadata: Metadata
    spec: Spec

    @property
    def name(self) -> str:
        """What it is known by."""
        return self.metadata.name
