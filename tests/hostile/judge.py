"""Judges an observation: what it amounts to, whether the case allows it, and what must never
happen.

`classify` names the outcome in the words of the data files without looking at what was expected, so
that it can be compared with what was measured elsewhere. `judge` then weighs it against the case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from tests.hostile.cases import Case
from tests.hostile.play import Observation
from tests.support.http1 import NotCanonical, read_canonical_requests
from tests.support.readings import Seen, read_alike
from tests.support.recorder import Exchange, echo_body

FORWARDED = ("ok", "forward-normalised")


@dataclass(slots=True)
class Upstream:
    """What reached the upstream on behalf of one run, probes left out."""

    exchanges: list[Exchange] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    heads_count: int = 0
    # Every head and trailer section; all bytes where the canonical form was left.
    heads: bytes = b""
    trailers: bytes = b""
    disagreements: list[str] = field(default_factory=list)
    not_canonical: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Verdict:
    """`outcome` is strict, tolerated or failed; `label` is what happened; `problems` say why."""

    case: Case
    outcome: str
    label: str
    problems: list[str]
    let_through: bool = False


@dataclass(frozen=True, slots=True)
class _Read:
    """One exchange, read by all three readers."""

    requests: tuple[Seen, ...]
    heads: bytes
    trailers: bytes
    disagreement: str | None
    not_canonical: str | None


# What differs between two deliveries of one case, and nothing else.
_VARIES = re.compile(
    rb"(?<=\r\nX-Forwarded-For: )127\.[0-9.]+(?=\r\n)|(?<=\r\nX-Request-Id: )[0-9a-f]{32}(?=\r\n)"
)


@lru_cache(maxsize=2048)
def _read(raw: bytes) -> _Read:
    requests, disagreement = read_alike(raw)
    try:
        canonical, rest = read_canonical_requests(raw)
    except NotCanonical as error:
        return _Read(tuple(requests), raw, b"", disagreement, str(error))
    trailers = b"".join(request.trailers for request in canonical)
    heads = b"".join(request.head for request in canonical) + rest.partition(b"\r\n\r\n")[0]
    return _Read(tuple(requests), heads + trailers, trailers, disagreement, None)


def read_upstream(exchanges: list[Exchange]) -> Upstream:
    """Reads what was recorded with two foreign parsers and with the canonical one."""
    upstream = Upstream()
    for exchange in exchanges:
        if exchange.is_own:
            continue
        upstream.exchanges.append(exchange)
        upstream.heads_count += exchange.heads
        # The same bytes come again and again: they are read once.
        read = _read(_VARIES.sub(b"127.1", bytes(exchange.raw)))
        upstream.requests += read.requests
        upstream.heads += read.heads
        upstream.trailers += read.trailers
        if read.disagreement is not None:
            upstream.disagreements.append(read.disagreement)
        if read.not_canonical is not None:
            upstream.not_canonical.append(read.not_canonical)
    return upstream


# --- what happened --------------------------------------------------------------------------------


def classify(case: Case, seen: Observation, upstream: Upstream) -> tuple[str, int | None]:
    """The name of the outcome and the status of the first final response."""
    first = seen.responses[0] if seen.responses else None
    if first is None:
        if seen.garbage:
            return "garbage", None
        if seen.ended:
            processed = "processed+" if upstream.requests and not case.is_response else ""
            return f"{processed}reject-close", None
        return "hang", None
    if not first.complete:
        return ("reject-close" if seen.ended else "hang"), first.status
    if case.is_response:
        return _classify_response(case, seen)
    if first.status < 400:
        return ("ok" if upstream.not_canonical else "forward-normalised"), first.status
    processed = "processed+" if upstream.requests else ""
    kind = "4xx" if first.status < 500 else "501" if first.status == 501 else "5xx"
    return f"{processed}reject-{kind}", first.status


def _classify_response(case: Case, seen: Observation) -> tuple[str, int | None]:
    first = seen.responses[0]
    if first.status == case.upstream_status:
        return ("ok" if first.oddities else "forward-normalised"), first.status
    if first.status >= 400:
        return "reject-close", first.status
    return "garbage", first.status


def _stays_open(seen: Observation) -> bool:
    return seen.probe_answered or not seen.ended


def matches(case: Case, wanted: str, name: str, status: int | None, *, stays_open: bool) -> bool:
    """Whether an outcome is the one that `wanted` names."""
    base, _, end = wanted.partition("+")
    if end and (end == "open") != stays_open:
        return False
    if base == "reject-close":
        if name not in ("reject-close", "reject-4xx", "reject-501", "reject-5xx"):
            return False
        return case.is_response or bool(end) or not stays_open
    if base.startswith("reject"):
        return name == base and (bool(end) or not stays_open)
    return name in FORWARDED if base == "ok" else name == base


# --- whether it may -------------------------------------------------------------------------------


def judge(case: Case, seen: Observation) -> Verdict:
    upstream = read_upstream(seen.exchanges)
    name, status = classify(case, seen, upstream)
    stays_open = _stays_open(seen)
    problems = [*_always(case, seen, upstream, name), *_rules(case, seen, upstream, name)]

    expected = matches(case, case.expected, name, status, stays_open=stays_open)
    right_status = not case.expect_status or status is None or status in case.expect_status
    if name == "reject-5xx" and status in case.expect_status:
        # 505 is listed among the statuses of a few cases that otherwise want a 4xx.
        expected = not stays_open
    tolerated = any(matches(case, w, name, status, stays_open=stays_open) for w in case.accept)
    outcome = "strict" if expected and right_status else "tolerated" if tolerated else "failed"
    if outcome == "failed":
        problems.insert(0, f"expected {case.expected}{_status_list(case)}")
    elif any(needle in upstream.heads for needle in case.needles("avoid_upstream")):
        outcome = "tolerated"
    if problems:
        outcome = "failed"
    label = name + ("+open" if name.startswith("reject") and _open_counts(case, stays_open) else "")
    return Verdict(
        case,
        outcome,
        label + (f" {status}" if status is not None else ""),
        problems,
        let_through=outcome == "failed" and name in FORWARDED and case.expects_rejection,
    )


def _open_counts(case: Case, stays_open: bool) -> bool:
    return stays_open and not case.is_response


def _status_list(case: Case) -> str:
    return f" with one of {list(case.expect_status)}" if case.expect_status else ""


def _always(case: Case, seen: Observation, upstream: Upstream, name: str) -> list[str]:
    """What no outcome excuses."""
    problems = list(upstream.disagreements)
    if seen.plain_get not in ("", "not asked"):
        problems.append(f"the plain GET that follows: {seen.plain_get}")
    if seen.left_open:
        problems.append("an upstream connection was left open with half a request on it")
    if seen.hung and seen.responses and seen.responses[-1].announces_close:
        problems.append("announced Connection: close and kept the connection open")
    if name.startswith("reject") and case.is_response:
        problems += [
            "an upstream connection was used again after a faulty response"
            for exchange in upstream.exchanges
            if exchange.answered and not exchange.connection_closed
        ]
    if not case.is_response:
        problems += [
            f"response is not canonical: {oddity}" for r in seen.responses for oddity in r.oddities
        ]
        if name in FORWARDED:
            problems += _misdelivered(seen, upstream)
            problems += _misread(case, upstream)
    return problems


def _misdelivered(seen: Observation, upstream: Upstream) -> list[str]:
    """Responses that do not answer the request in their place."""
    problems = []
    for response, request in zip(seen.responses, upstream.requests, strict=False):
        body = echo_body(request.method, request.target, len(request.body))
        if request.method == b"HEAD":
            body = b""
        if response.status == 200 and response.complete and response.body != body:
            problems.append(f"{request} was answered with {response.body[:80]!r}")
    return problems


def _misread(case: Case, upstream: Upstream) -> list[str]:
    """Where the gateway read the case otherwise than two parsers that agree on it."""
    if case.meaning is None:
        return []
    meant = [(seen.method, seen.body) for seen in case.meaning]
    passed_on = [(seen.method, seen.body) for seen in upstream.requests]
    if passed_on != meant[: len(passed_on)]:
        return [f"the bytes mean {meant!r:.200}, the upstream was told {passed_on!r:.200}"]
    return []


def _rules(case: Case, seen: Observation, upstream: Upstream, name: str) -> list[str]:
    """What the case itself demands or forbids."""
    problems = []
    if name.startswith("reject") and not case.is_response and upstream.requests:
        problems.append("refused, and still a whole request reached the upstream")
    # A limit of none is for the refusal; where the case tolerates forwarding, the request may be
    # seen.
    tolerates_forwarding = any(wanted.partition("+")[0] in FORWARDED for wanted in case.accept)
    forwarded_by_leave = name in FORWARDED and case.expects_rejection and tolerates_forwarding
    limit = max(case.max_upstream_requests, 1 if forwarded_by_leave else 0)
    if upstream.heads_count > limit:
        problems.append(f"{upstream.heads_count} requests upstream, at most {limit}")
    if len(upstream.requests) < case.min_upstream_requests:
        problems.append(f"{len(upstream.requests)} requests upstream, too few")
    heads = upstream.heads.lower()
    problems += [
        f"upstream saw {needle!r}"
        for needle in case.needles("forbid_upstream")
        if needle.lower() in heads
    ]
    problems += [
        f"upstream saw the trailer {needle!r}"
        for needle in case.needles("forbid_trailer")
        if needle.lower() in upstream.trailers.lower()
    ]
    if name in FORWARDED:
        problems += [
            f"upstream did not see {needle!r}"
            for needle in case.needles("require_upstream")
            if needle not in upstream.heads
        ]
        if case.keepalive and not _stays_open(seen):
            problems.append("the connection was closed")
    received = seen.received + (seen.followup or b"")
    problems += [
        f"the caller received {needle!r}"
        for needle in case.needles("forbid_client")
        if needle in received
    ]
    if case.followup is not None and not (seen.followup or b"").startswith(b"HTTP/1.1 200"):
        problems.append(f"the follow-up was answered {(seen.followup or b'')[:80]!r}")
    return problems
