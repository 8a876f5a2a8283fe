"""API tokens: `gwx_<id>_<secret>`, shown once, kept as a hash and as a digest.

The secret is 256 random bits. The admin API checks both: the digest first, which costs nothing and
turns guesses away, then argon2, once for each token and process.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, insert, or_, select, update

from gatewayx.store.audit import now_ms, record
from gatewayx.store.errors import NotStored
from gatewayx.store.tables import Token

if TYPE_CHECKING:
    from gatewayx.store.store import Store

_TOKEN = re.compile(r"gwx_([a-z0-9]{12})_[A-Za-z0-9_-]{43}\Z")
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
        self._hasher = PasswordHasher()
        self._known: dict[str, bytes] = {}

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
        self._known.pop(token_id, None)

    def credentials(self) -> list[Credential]:
        """Every token that is valid now, for the data path."""
        query = select(Token.digest, Token.id, Token.superuser, Token.claims, Token.expires_ms)
        with self._store.read() as conn:
            return [Credential(*row) for row in conn.execute(query.where(_valid()))]

    def superuser(self, offered: str) -> str | None:
        """The id of the superuser token that is offered; None for anything else."""
        match = _TOKEN.match(offered)
        if match is None:
            return None
        token_id = match[1]
        query = select(Token.hash, Token.digest).where(
            Token.id == token_id, Token.superuser, _valid()
        )
        with self._store.read() as conn:
            row = conn.execute(query).one_or_none()
        if row is None or not hmac.compare_digest(row.digest, self._store.key.digest(offered)):
            return None
        print_now = sha256(f"{row.hash} {offered}".encode()).digest()
        if not hmac.compare_digest(self._known.get(token_id, b""), print_now):
            try:
                self._hasher.verify(row.hash, offered)
            except (VerificationError, InvalidHashError):
                return None
            self._known[token_id] = print_now
        return token_id

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
                hash=self._hasher.hash(text),
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
