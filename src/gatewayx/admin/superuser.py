"""The superuser token: where it comes from, and how it is compared.

First of: the variable `GATEWAYX_ADMIN_TOKEN`, the first line of `admin.token_file`, a token made at
start. Only a made token is ever shown, once, by whoever starts the gateway; a given one is known to
its giver.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gatewayx.config import AdminConfig, ConfigError, Fault

VARIABLE = "GATEWAYX_ADMIN_TOKEN"
TOKEN_MAX_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class SuperuserToken:
    """The token and whether it was made here. Its text stays out of logs and tracebacks.

    Attributes:
        text: Visible ASCII, not empty.
        made: Whether nobody but this process knows it yet.
    """

    text: str = field(repr=False)
    made: bool = False

    def sha256(self) -> str:
        """What workers know it by, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def matches(self, offered: str) -> bool:
        """Compare in a time that does not depend on where the texts differ."""
        return hmac.compare_digest(offered.encode(), self.text.encode())


def given_token(admin: AdminConfig, environ: Mapping[str, str]) -> SuperuserToken | None:
    """The token of variable or file. Raises `ConfigError` for a source that is unfit."""
    given = environ.get(VARIABLE)
    if given is not None:
        return SuperuserToken(_checked(given, VARIABLE))
    if admin.token_file is not None:
        return SuperuserToken(_checked(_first_line(admin.token_file), "admin.token_file"))
    return None


def load_token(admin: AdminConfig, environ: Mapping[str, str]) -> SuperuserToken:
    """Find the token, or make one. Raises `ConfigError` for a source that is named but unfit."""
    found = given_token(admin, environ)
    return SuperuserToken(secrets.token_urlsafe(32), made=True) if found is None else found


def _first_line(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            return file.readline(TOKEN_MAX_CHARACTERS + 2).rstrip("\r\n")
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise ConfigError([Fault("admin.token_file", message)]) from None


def _checked(text: str, source: str) -> str:
    if not 1 <= len(text) <= TOKEN_MAX_CHARACTERS:
        message = f"the token must have 1 to {TOKEN_MAX_CHARACTERS} characters"
        raise ConfigError([Fault(source, message)])
    if not all("!" <= character <= "~" for character in text):
        message = "the token must be visible ASCII, without spaces"
        raise ConfigError([Fault(source, message)])
    return text
