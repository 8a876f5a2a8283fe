"""The judge judged: what must never pass does not pass it, without any gateway."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hostile.cases import Case, parse_case
from tests.hostile.judge import Verdict, judge
from tests.hostile.play import Delivery, Observation
from tests.support.framing import LenientFraming
from tests.support.http1 import NotCanonical, read_canonical_requests, read_response
from tests.support.readings import read_alike
from tests.support.recorder import Exchange, echo_response

PLAIN = b"GET /a HTTP/1.1\r\nHost: up\r\n\r\n"


def case_of(**data: Any) -> Case:
    given = {
        "id": "x",
        "side": "request",
        "raw": "GET /a HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        "category": "control",
        "expected": "ok",
        "notes": "",
        "rfc": "9112",
        "max_upstream_requests": 1,
    }
    return parse_case({**given, **data})


def exchange_of(raw: bytes) -> Exchange:
    """What the recorder would have made of these bytes."""
    exchange = Exchange(1, bytearray(raw), answered=1, connection_closed=True)
    for event in LenientFraming().feed(raw):
        if hasattr(event, "target"):
            exchange.heads += 1
            exchange.targets.append(event.target)
        else:
            exchange.completed += 1
    return exchange


def verdict_of(case: Case, received: bytes, *upstream: bytes, **seen: Any) -> Verdict:
    observation = Observation(Delivery(), received=received, **seen)
    observation.ended = not observation.probe_answered
    at = 0
    while at < len(received):
        response = read_response(received, at, eof=True)
        assert response is not None
        observation.responses.append(response)
        at = response.end
    observation.exchanges = [exchange_of(raw) for raw in upstream]
    return judge(case, observation)


ANSWER = echo_response(b"GET", b"/a", 0)
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def test_a_plain_exchange_is_strict() -> None:
    verdict = verdict_of(case_of(), ANSWER, PLAIN, probe_answered=True)
    assert (verdict.outcome, verdict.label) == ("strict", "forward-normalised 200")


def test_a_refusal_is_strict_only_with_a_close() -> None:
    case = case_of(expected="reject-4xx", max_upstream_requests=0)
    assert verdict_of(case, REFUSAL).outcome == "strict"
    assert verdict_of(case, REFUSAL, probe_answered=True).outcome == "failed"
    assert verdict_of(case, b"").outcome == "failed"


def test_a_refusal_does_not_excuse_a_request_upstream() -> None:
    case = case_of(expected="reject-4xx", max_upstream_requests=1)
    assert verdict_of(case, REFUSAL, PLAIN).outcome == "failed"


def test_what_was_to_be_refused_is_let_through() -> None:
    case = case_of(expected="reject-4xx", max_upstream_requests=0)
    verdict = verdict_of(case, ANSWER, PLAIN, probe_answered=True)
    assert (verdict.outcome, verdict.let_through) == ("failed", True)


def test_tolerated_is_not_strict() -> None:
    case = case_of(expected="reject-4xx", accept=["forward-normalised"], max_upstream_requests=0)
    assert verdict_of(case, ANSWER, PLAIN, probe_answered=True).outcome == "tolerated"


@pytest.mark.parametrize(
    "upstream",
    [
        PLAIN + b"GET /smuggled HTTP/1.1\r\nHost: up\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: up\r\nX-Secret: smuggled\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: up\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["a second request", "a forbidden field", "another meaning"],
)
def test_what_the_upstream_saw_counts(upstream: bytes) -> None:
    case = case_of(forbid_upstream=["smuggled"])
    assert verdict_of(case, ANSWER, upstream, probe_answered=True).outcome == "failed"


def test_an_answer_to_another_request_is_found() -> None:
    answer = echo_response(b"GET", b"/other", 0)
    assert verdict_of(case_of(), answer, PLAIN, probe_answered=True).outcome == "failed"


@pytest.mark.parametrize("flaw", ["plain_get", "left_open"])
def test_damage_left_behind_is_found(flaw: str) -> None:
    seen: dict[str, Any] = {flaw: "no answer" if flaw == "plain_get" else True}
    verdict = verdict_of(case_of(), ANSWER, PLAIN, probe_answered=True, **seen)
    assert verdict.outcome == "failed"


# --- the readers that it relies on ---------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /a HTTP/1.1\nHost: up\n\n",
        b"GET  /a HTTP/1.1\r\nHost: up\r\n\r\n",
        b"GET http://up/a HTTP/1.1\r\nHost: up\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: up\r\nHost: up\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: up\r\nX : 1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: up\r\nX: a\r\n b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: up\r\nX: a\x00\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: up\r\nContent-Length: 05\r\n\r\nhello",
        b"POST /a HTTP/1.1\r\nHost: up\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /a HTTP/1.1\r\nHost: up\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: up\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: up\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: up\r\nTransfer-Encoding: chunked\r\n\r\n01\r\na\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_canonical_is_not_read(raw: bytes) -> None:
    with pytest.raises(NotCanonical):
        read_canonical_requests(raw)


@pytest.mark.parametrize(
    "raw",
    [
        # llhttp refuses what h11 takes, or the other way round.
        b"GET /a HTTP/1.1\r\nHost: up\r\nX: a\x07b\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: up\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: up\r\nX: a\n\rY: b\r\n\r\n",
    ],
)
def test_parsers_that_disagree_are_noticed(raw: bytes) -> None:
    _, problem = read_alike(raw)
    assert problem is not None


def test_parsers_agree_on_what_is_canonical() -> None:
    raw = PLAIN + (
        b"POST /b HTTP/1.1\r\nHost: up\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
        b"BREW /c HTTP/1.1\r\nHost: up\r\nContent-Length: 3\r\n\r\nabc"
    )
    canonical, rest = read_canonical_requests(raw)
    assert [request.body for request in canonical] == [b"", b"hello", b"abc"]
    assert rest == b""
    requests, problem = read_alike(raw.replace(b"BREW", b"PUT"))
    assert problem is None
    assert [request.body for request in requests] == [b"", b"hello", b"abc"]
