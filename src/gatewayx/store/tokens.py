"""API tokens: `gwx_<id>_<secret>`, shown once, kept as a hash and as a digest.

The secret is 256 random bits. The admin API checks both: the digest first, which costs nothing and
turns guesses away, then argon2, once for each token and process.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, insert, or_, select, update

from gatewayx.store.audit import now_ms, record
from gatewayx.store.errors import NotStored
from gatewayx.store.tables import Token

if TYPE_CHECKING:
    from gatewayx.store.key import StoreKey
    from gatewayx.store.store import Store

_TOKEN = re.compile(r"gwx_([a-z0-9]{12})_[A-Za-z0-9_-]{43}\Z")
_HASHER = PasswordHasher()
_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class StoredToken:
    """What may be told of a token."""

    id: str
    label: str
    superuser: bool
    claims: dict[str, Any]
    expires_ms: int | None
    created_ms: int
    created_by: str
    revoked_ms: int | None


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A new token with its text, which nobody can be shown again."""

    text: str = field(repr=False)
    token: StoredToken


@dataclass(frozen=True, slots=True)
class Credential:
    """What the data path needs to know a token's bearer.

    Attributes:
        digest: `StoreKey.digest` of the token, hexadecimal.
        id: The token's.
        superuser: Whether access rules treat the bearer as a superuser.
        claims: Of the bearer.
        expires_ms: Milliseconds since 1970; None for never.
    """

    digest: str
    id: str
    superuser: bool
    claims: dict[str, Any]
    expires_ms: int | None


class SuperuserRow(NamedTuple):
    """What a `TokenCheck` compares with; none of it gives a token back."""

    hash: str
    digest: str
    expires_ms: int | None


class TokenCheck:
    """Tells superuser tokens from anything else, without asking the database.

    Attributes:
        rows: The tokens that count, by id; whoever reads the store replaces them.
    """

    def __init__(self, key: StoreKey) -> None:
        self.rows: dict[str, SuperuserRow] = {}
        self._key = key
        self._verified: dict[str, str] = {}

    def admits(self, offered: str) -> str | None:
        """The id of the token that is offered, or None. A token's first use takes 50 ms."""
        match = _TOKEN.match(offered)
        row = None if match is None else self.rows.get(match[1])
        digest = self._key.digest(offered)
        if match is None or row is None or not hmac.compare_digest(row.digest, digest):
            return None
        if row.expires_ms is not None and row.expires_ms <= now_ms():
            return None
        if self._verified.get(match[1]) != row.hash:
            try:
                _HASHER.verify(row.hash, offered)
            except (VerificationError, InvalidHashError):
                return None
            self._verified[match[1]] = row.hash
        return match[1]


_SHOWN = (
    Token.id,
    Token.label,
    Token.superuser,
    Token.claims,
    Token.expires_ms,
    Token.created_ms,
    Token.created_by,
    Token.revoked_ms,
)


class Tokens:
    """The tokens of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[StoredToken]:
        """Every token that has not been revoked, the oldest first."""
        query = select(*_SHOWN).where(Token.revoked_ms.is_(None))
        with self._store.read() as conn:
            rows = conn.execute(query.order_by(Token.created_ms, Token.id))
            return [StoredToken(*row) for row in rows]

    def create(
        self,
        label: str,
        actor: str,
        *,
        superuser: bool = False,
        claims: dict[str, Any] | None = None,
        expires_ms: int | None = None,
    ) -> MadeToken:
        """Make a token."""
        with self._store.change() as conn:
            return self._create(conn, label, actor, superuser, claims or {}, expires_ms)

    def first_superuser(self) -> MadeToken | None:
        """Make the first superuser token, unless there has been one already."""
        with self._store.change() as conn:
            if conn.execute(select(Token.id).where(Token.superuser).limit(1)).first():
                return None
            return self._create(conn, "first start", "gateway", True, {}, None)

    def revoke(self, token_id: str, actor: str) -> None:
        """Make a token worthless. Raises `NotStored`."""
        live = (Token.id == token_id) & Token.revoked_ms.is_(None)
        with self._store.change() as conn:
            if not conn.execute(update(Token).where(live).values(revoked_ms=now_ms())).rowcount:
                raise NotStored(f"there is no token {token_id!r}")
            record(conn, actor, "revoke", "token", token_id)

    def credentials(self) -> list[Credential]:
        """Every token that is valid now, for the data path."""
        query = select(Token.digest, Token.id, Token.superuser, Token.claims, Token.expires_ms)
        with self._store.read() as conn:
            return [Credential(*row) for row in conn.execute(query.where(_valid()))]

    def superusers(self) -> dict[str, SuperuserRow]:
        """Every superuser token that has not been revoked, by id, for a `TokenCheck`."""
        query = select(Token.id, Token.hash, Token.digest, Token.expires_ms)
        with self._store.read() as conn:
            rows = conn.execute(query.where(Token.superuser, Token.revoked_ms.is_(None)))
            return {row[0]: SuperuserRow(*row[1:]) for row in rows}

    def _create(
        self,
        conn: Connection,
        label: str,
        actor: str,
        superuser: bool,
        claims: dict[str, Any],
        expires_ms: int | None,
    ) -> MadeToken:
        token_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(12))
        text = f"gwx_{token_id}_{secrets.token_urlsafe(32)}"
        now = now_ms()
        conn.execute(
            insert(Token).values(
                id=token_id,
                label=label,
                hash=_HASHER.hash(text),
                digest=self._store.key.digest(text),
                superuser=superuser,
                claims=claims,
                expires_ms=expires_ms,
                created_ms=now,
                created_by=actor,
            )
        )
        record(conn, actor, "create", "token", token_id, {"label": label, "superuser": superuser})
        shown = StoredToken(token_id, label, superuser, claims, expires_ms, now, actor, None)
        return MadeToken(text, shown)


def _valid() -> Any:
    alive = or_(Token.expires_ms.is_(None), Token.expires_ms > now_ms())
    return Token.revoked_ms.is_(None) & alive
