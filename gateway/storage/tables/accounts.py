"""Organizations and their API keys."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, LargeBinary, Table, Text

from gateway.storage.tables.types import STRICT, Id, Instant, metadata

organizations = Table(
    "organizations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    # what a new key starts with; each key keeps its own
    Column("truncate", Text),
    Column("token_ids_from", Text),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
    CheckConstraint("truncate IN ('end', 'start')", name="truncate"),
    CheckConstraint("token_ids_from IN ('model')", name="token_ids_from"),
    **STRICT,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    Column("name", Text, nullable=False),
    # HMAC-SHA256 of the key under GATEWAY_SECRET: the key itself is stored nowhere
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("last_four", Text, nullable=False),
    Column("token_ids_from", Text),
    Column("truncate", Text),
    Column("created_at", Instant, nullable=False),
    # nobody: an operator, who deleted their account, or a key from before this was kept
    Column("created_by", Id, ForeignKey("users.id")),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    # what other processes watch, to forget a key that changed
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
    CheckConstraint("token_ids_from IN ('model')", name="token_ids_from"),
    CheckConstraint("truncate IN ('end', 'start')", name="truncate"),
    Index(None, "organization_id"),
    Index(None, "changed_at"),
    Index(None, "created_by"),
    **STRICT,
)
