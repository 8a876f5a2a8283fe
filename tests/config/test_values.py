"""The kinds of value: what each accepts, what it means, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx.config import values


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(0, 0.0), (2, 2.0), (0.5, 0.5), (0.001, 0.001), (2_592_000, 2_592_000.0)],
)
def test_duration_is_seconds(written: float, seconds: float) -> None:
    assert values.duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [-1, 0.0009, 2_592_001, float("nan"), float("inf"), True, "5", "5s", None, [1]],
)
def test_duration_refuses(written: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        values.duration(written)


def test_a_wait_that_guards_against_peers_is_never_zero() -> None:
    assert values.nonzero_duration(0.25) == 0.25
    with pytest.raises(ValueError, match="cannot be switched off"):
        values.nonzero_duration(0)


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (0, 0),
        (65536, 65536),
        ("65536", 65536),
        ("7B", 7),
        ("64KiB", 65536),
        ("10 MiB", 10 << 20),
        ("1GiB", 1 << 30),
    ],
)
def test_size_is_bytes(written: object, count: int) -> None:
    assert values.size(written) == count


@pytest.mark.parametrize(
    "written", [-1, "-1", "1.5MiB", "64 kb", "64KB", "KiB", "", "1TiB", "2000GiB", 1.0, True, None]
)
def test_size_refuses(written: object) -> None:
    with pytest.raises(ValueError, match=r"must be|unknown unit"):
        values.size(written)


@given(st.integers(0, 1 << 30), st.sampled_from(["B", "KiB", "MiB", "GiB"]))
def test_size_with_a_unit_is_the_product(number: int, unit: str) -> None:
    expected = number * 1024 ** ["B", "KiB", "MiB", "GiB"].index(unit)
    if expected <= values.SIZE_MAX_BYTES:
        assert values.size(f"{number}{unit}") == expected
    else:
        with pytest.raises(ValueError, match="between"):
            values.size(f"{number}{unit}")


@pytest.mark.parametrize("name", ["a", "sidecar", "LLM-2", "a.b_c", "0", "x" * 63])
def test_label_accepts(name: str) -> None:
    assert values.label(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", ".", "a b", "a/b", "ä", 'a"', "a\n", "x" * 64])
def test_label_refuses(name: str) -> None:
    with pytest.raises(ValueError, match="letters"):
        values.label(name)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("API.Example.com", "api.example.com"),
        ("my_service", "my_service"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8:0:0::1]", "[2001:db8::1]"),
    ],
)
def test_host_name_is_lower_case(written: str, host: str) -> None:
    assert values.host_name(written) == host


@pytest.mark.parametrize(
    "written",
    [
        "",
        "a:80",
        "::1",
        "[::g]",
        "[::1",
        "a..b",
        ".a",
        "a.",
        "*.a.com",
        "münchen.de",
        "a b",
        "a/b",
        "a@b",
        "256.0.0.1",
        "1.2.3",
        "x" * 64,
        ".".join(["abcdefg"] * 40),
        "a\n",
    ],
)
def test_host_name_refuses(written: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is not"):
        values.host_name(written)


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("localhost:0", "localhost", 0),
        ("[::1]:65535", "::1", 65535),
        ("0.0.0.0:080", "0.0.0.0", 80),
    ],
)
def test_listen_address_splits(written: str, host: str, port: int) -> None:
    assert values.split_address(values.listen_address(written)) == (host, port)


@pytest.mark.parametrize(
    "written", ["", "8080", ":8080", "127.0.0.1", "a:", "a:-1", "a:65536", "a:٨", "::1:80", "a:b"]
)
def test_listen_address_refuses(written: str) -> None:
    with pytest.raises(ValueError, match=r"must be|needs a host"):
        values.listen_address(written)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/", "/"),
        ("/api", "/api"),
        ("/api/", "/api"),
        ("/a/B.c-d_~!$&'()*+,;=:@", "/a/B.c-d_~!$&'()*+,;=:@"),
    ],
)
def test_path_prefix_has_no_trailing_slash(written: str, path: str) -> None:
    assert values.path_prefix(written) == path
    assert values.path_prefix(path) == path


@pytest.mark.parametrize(
    "written",
    [
        "",
        "api",
        "/a b",
        "/a?b",
        "/a#b",
        "//",
        "/a//b",
        "/.",
        "/a/..",
        "/../a",
        "/%41",
        "/ä",
        "/a\\b",
        "/a\n",
    ],
)
def test_path_prefix_refuses(written: str) -> None:
    with pytest.raises(ValueError, match="must"):
        values.path_prefix(written)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8001", ("127.0.0.1", 8001, False, "127.0.0.1:8001", "")),
        ("http://Example.com", ("example.com", 80, False, "example.com", "")),
        ("HTTP://example.com:80/", ("example.com", 80, False, "example.com", "")),
        ("https://example.com", ("example.com", 443, True, "example.com", "")),
        ("https://example.com:80", ("example.com", 80, True, "example.com:80", "")),
        ("http://[::1]:9000/v1/", ("::1", 9000, False, "[::1]:9000", "/v1")),
        ("http://a/b%20c/d", ("a", 80, False, "a", "/b%20c/d")),
    ],
)
def test_upstream_url_is_taken_apart(url: str, expected: tuple[object, ...]) -> None:
    address = values.upstream_address(url)
    parts = (address.host, address.port, address.tls, address.authority, address.base_path)
    assert parts == expected
    assert values.upstream_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://a",
        "http://",
        "http://:80",
        "http://a:",
        "http://a:0",
        "http://a:65536",
        "http://a:b",
        "http://user:password@a",
        "http://a?b=c",
        "http://a/b?c",
        "http://a/#f",
        "http://a/../b",
        "http://a/%2e%2E/b",
        "http://a/b%2Fc",
        "http://a/b%5cc",
        "http://a/%00",
        "http://a/%4",
        "http://a//b",
        "http://a b",
        "http://a\r\nX: y",
        "http://[::1",
        "http://[fe80::1%25eth0]/",
        "http://a,b/",
    ],
)
def test_upstream_url_refuses(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|is not") as refusal:
        values.upstream_address(url)
    assert "password" not in str(refusal.value).replace("user or password", "")


@pytest.mark.parametrize("name", ["Authorization", "x-a", "X_B", "!#$%&'*+.^`|~", "X-Real-IP"])
def test_header_name_accepts_tokens(name: str) -> None:
    assert values.header_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a:", "ä", "a\n", "(a)", "a\x00"])
def test_header_name_refuses_what_is_no_token(name: str) -> None:
    with pytest.raises(ValueError, match="not a field name"):
        values.header_name(name)


@pytest.mark.parametrize("name", sorted(values.OWN_FIELDS))
def test_header_name_refuses_fields_that_frame_or_route(name: str) -> None:
    with pytest.raises(ValueError, match="gateway itself"):
        values.header_name(name.title())
    with pytest.raises(ValueError, match="gateway itself"):
        values.header_name(name.replace("-", "_"))


@pytest.mark.parametrize("second", ["X-A", "x_a", "X_A"])
def test_one_field_is_set_once_whatever_its_spelling(second: str) -> None:
    with pytest.raises(ValueError, match=f"x-a and {second} are the same field"):
        values.distinct_names({"x-a": "1", second: "2"})


@pytest.mark.parametrize("value", ["", "Bearer abc", "a\tb", "~ !"])
def test_header_value_accepts(value: str) -> None:
    assert values.header_value(value) == value


@pytest.mark.parametrize(
    "value", [" a", "a ", "\ta", "a\nb", "a\r", "a\x00", "a\x7f", "a\x1b", "é", "a\x85"]
)
def test_header_value_refuses(value: str) -> None:
    with pytest.raises(ValueError, match="must"):
        values.header_value(value)


@given(st.text())
def test_header_value_never_holds_what_would_split_a_message(value: str) -> None:
    try:
        accepted = values.header_value(value)
    except ValueError:
        return
    assert all(char == "\t" or " " <= char <= "~" for char in accepted)
