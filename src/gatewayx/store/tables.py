"""The store's tables, as SQLAlchemy models.

Times are whole milliseconds since 1970. JSON null and SQL NULL are one thing: absent, which means
that the model's default holds. A document's header values may be secrets, so they are sealed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ABSENT_JSON = JSON(none_as_null=True)

# SQLite only gives ids to INTEGER keys.
_ID = BigInteger().with_variant(Integer(), "sqlite")

Document = dict[str, Any]


class Base(DeclarativeBase):
    """What every model shares."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own form
        int: BigInteger(),
        str: String(),
        Document: ABSENT_JSON,
        list[str]: ABSENT_JSON,
    }


class Proxy(Base):
    """A proxy, with a column for each option of its model; absent options have no value.

    Attributes:
        sealed_headers: The header fields as sealed JSON.
        options: Those that have no column of their own.
        version: Of its history; the ETag.
    """

    __tablename__ = "gateway_proxies"
    __table_args__ = (Index("gateway_proxies_route", "host", "path"),)

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    namespace: Mapped[str | None]
    host: Mapped[str | None]
    path: Mapped[str | None]
    upstream: Mapped[str | None]
    upstreams: Mapped[list[str] | None]
    strip_path: Mapped[bool | None]
    sealed_headers: Mapped[str | None] = mapped_column(Text())
    pass_host: Mapped[bool | None]
    access_rule: Mapped[str | None]
    active: Mapped[bool | None]
    max_concurrent: Mapped[int | None]
    retry_after: Mapped[int | None]
    request_body_max: Mapped[int | None]
    websocket: Mapped[bool | None]
    accept_encoding: Mapped[str | None]
    queue: Mapped[Document | None]
    circuit_breaker: Mapped[Document | None]
    retry: Mapped[Document | None]
    load_balancing: Mapped[Document | None]
    timeout: Mapped[Document | None]
    options: Mapped[Document | None]


class Revision(Base):
    """One version of a proxy; without a document it is its deletion."""

    __tablename__ = "gateway_proxy_revisions"

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sealed_document: Mapped[str | None] = mapped_column(Text())
    at_ms: Mapped[int]
    actor: Mapped[str]


class Secret(Base):
    """A secret under its name, sealed with the store's key."""

    __tablename__ = "gateway_secrets"

    name: Mapped[str] = mapped_column(primary_key=True)
    sealed_text: Mapped[str] = mapped_column(Text())
    created_ms: Mapped[int]
    updated_ms: Mapped[int]


class Token(Base):
    """An API token. Neither hash nor digest gives the token back.

    Attributes:
        hash: argon2id, for the admin API.
        digest: HMAC-SHA-256 under the store's key, hexadecimal, for the data path.
        superuser: Whether it opens the admin API.
        claims: What access rules may ask of its bearer.
        revoked_ms: When it was revoked, if it was.
    """

    __tablename__ = "gateway_tokens"

    id: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str]
    hash: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    superuser: Mapped[bool]
    claims: Mapped[Document]
    expires_ms: Mapped[int | None]
    created_ms: Mapped[int]
    created_by: Mapped[str]
    revoked_ms: Mapped[int | None]


class Policy(Base):
    """A fault policy: its document, and when by whom it was last put in force."""

    __tablename__ = "gateway_policies"

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    document: Mapped[Document]
    enabled: Mapped[bool]
    created_ms: Mapped[int]
    updated_ms: Mapped[int]
    applied_ms: Mapped[int | None]
    applied_by: Mapped[str | None]


class AuditEntry(Base):
    """Something that somebody did, or tried to do. It names secrets and holds none."""

    __tablename__ = "gateway_audit"
    __table_args__ = (Index("gateway_audit_object", "kind", "name"),)

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    at_ms: Mapped[int]
    actor: Mapped[str]
    action: Mapped[str]
    kind: Mapped[str]
    name: Mapped[str]
    detail: Mapped[Document | None]


class Meta(Base):
    """Single values: `revision`, raised by every change; `key_check`, sealed with the key."""

    __tablename__ = "gateway_meta"

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
