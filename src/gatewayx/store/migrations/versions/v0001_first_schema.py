"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# JSON null and SQL NULL are one thing here: absent.
ABSENT_JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "gateway_audit",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("detail", ABSENT_JSON, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("gateway_audit_object", "gateway_audit", ["kind", "name"], unique=False)
    op.create_table(
        "gateway_meta",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "gateway_policies",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("document", ABSENT_JSON, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("applied_ms", sa.BigInteger(), nullable=True),
        sa.Column("applied_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "gateway_proxies",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.String(), nullable=True),
        sa.Column("host", sa.String(), nullable=True),
        sa.Column("path", sa.String(), nullable=True),
        sa.Column("upstream", sa.String(), nullable=True),
        sa.Column("upstreams", ABSENT_JSON, nullable=True),
        sa.Column("strip_path", sa.Boolean(), nullable=True),
        sa.Column("sealed_headers", sa.Text(), nullable=True),
        sa.Column("pass_host", sa.Boolean(), nullable=True),
        sa.Column("access_rule", sa.String(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=True),
        sa.Column("max_concurrent", sa.BigInteger(), nullable=True),
        sa.Column("retry_after", sa.BigInteger(), nullable=True),
        sa.Column("request_body_max", sa.BigInteger(), nullable=True),
        sa.Column("websocket", sa.Boolean(), nullable=True),
        sa.Column("accept_encoding", sa.String(), nullable=True),
        sa.Column("queue", ABSENT_JSON, nullable=True),
        sa.Column("circuit_breaker", ABSENT_JSON, nullable=True),
        sa.Column("retry", ABSENT_JSON, nullable=True),
        sa.Column("load_balancing", ABSENT_JSON, nullable=True),
        sa.Column("timeout", ABSENT_JSON, nullable=True),
        sa.Column("options", ABSENT_JSON, nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("gateway_proxies_route", "gateway_proxies", ["host", "path"], unique=False)
    op.create_table(
        "gateway_proxy_revisions",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sealed_document", sa.Text(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    op.create_table(
        "gateway_secrets",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sealed_text", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "gateway_tokens",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("superuser", sa.Boolean(), nullable=False),
        sa.Column("claims", ABSENT_JSON, nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
