"""The superuser token: its sources in their order, and what is no token."""

from pathlib import Path

import pytest

from gatewayx.admin import SuperuserToken, load_token
from gatewayx.config import AdminConfig, ConfigError


def test_the_variable_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-file\n")
    admin = AdminConfig(token_file=str(path))
    assert load_token(admin, {"GATEWAYX_ADMIN_TOKEN": "from-variable"}).text == "from-variable"
    assert load_token(admin, {}).text == "from-file"


def test_only_the_first_line_of_the_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"first\r\nsecond\n")
    assert load_token(AdminConfig(token_file=str(path)), {}) == SuperuserToken("first")


def test_a_token_is_made_where_none_is_given() -> None:
    one, two = load_token(AdminConfig(), {}), load_token(AdminConfig(), {})
    assert one.made
    assert len(one.text) >= 43  # 256 bits in base64
    assert one.text != two.text


def test_a_given_token_is_not_a_made_one() -> None:
    assert not load_token(AdminConfig(), {"GATEWAYX_ADMIN_TOKEN": "x"}).made


@pytest.mark.parametrize("text", ["", "a b", "a\n", "é", "x" * 4097])
def test_an_unfit_token_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="GATEWAYX_ADMIN_TOKEN: the token must"):
        load_token(AdminConfig(), {"GATEWAYX_ADMIN_TOKEN": text})


@pytest.mark.parametrize("content", [b"", b"\nsecret", b"a b", b"\xff\xfe", b"x" * 5000])
def test_an_unfit_token_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"admin\.token_file: the token must"):
        load_token(AdminConfig(token_file=str(path)), {})


def test_a_missing_token_file_is_refused(tmp_path: Path) -> None:
    admin = AdminConfig(token_file=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"cannot read .*/none: No such file"):
        load_token(admin, {})


def test_a_token_matches_itself_only() -> None:
    token = SuperuserToken("abc")
    assert token.matches("abc")
    assert not any(token.matches(text) for text in ("", "ab", "abcd", "ABC", "äbc"))


def test_a_token_does_not_show_itself() -> None:
    assert "abc" not in repr(SuperuserToken("abc"))
