"""The codec's face; its rules are tested where they are written, in native/http."""

import pytest

from gatewayx.primitives import parse_request

HEAD = b"GET /a?b HTTP/1.1\r\nHost: gw.test\r\nX-Two:\t caf\xe9 \r\n\r\n"


def test_a_whole_head() -> None:
    fields = [(b"Host", b"gw.test"), (b"X-Two", b"caf\xe9")]
    assert parse_request(HEAD + b"rest") == (b"GET", b"/a?b", 1, fields, len(HEAD))


def test_an_absolute_target_is_told_as_it_stands() -> None:
    head = b"GET http://gw.test/x HTTP/1.0\r\n\r\n"
    assert parse_request(head) == (b"GET", b"http://gw.test/x", 0, [], len(head))


def test_a_head_that_is_not_whole() -> None:
    assert all(parse_request(HEAD[:end]) is None for end in range(len(HEAD)))


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (b"GET /a HTTP/1.1\nHost: a\n\n", "bare LF"),
        (b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n", "whitespace"),
        (
            b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "length",
        ),
    ],
)
def test_a_broken_rule_is_named(head: bytes, rule: str) -> None:
    with pytest.raises(ValueError, match=f"(?i){rule}"):
        parse_request(head)
