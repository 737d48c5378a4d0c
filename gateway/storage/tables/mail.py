"""Mail: the outbox, and the addresses that have unsubscribed."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, Table, Text, text

from gateway.storage.tables.types import STRICT, Id, Instant, metadata, partial_index

outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True),
    # identifies the mail: the same one can't be queued twice
    Column("ref", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("html", Text, nullable=False),
    # RFC 8058 one-click address; empty for mail that the recipient asked for
    Column("unsubscribe_url", Text, nullable=False),
    # to an address without an account: these go last of those that someone waits for
    Column(
        "for_stranger",
        Boolean().with_variant(Integer(), "sqlite"),
        nullable=False,
        server_default=text("false"),
    ),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    # when to stop trying
    Column("give_up_at", Instant),
    Column("sent_at", Instant),
    Column("reason", Text, nullable=False),
    CheckConstraint("state IN ('pending', 'sending', 'sent', 'failed', 'unknown')", name="state"),
    Index(None, "state", "due_at"),
    partial_index("ix_outbox_launches", "ref", where="kind = 'launch'"),
    # for the pages of the back office: the newest of a state, and of a person
    Index(None, "state", "id"),
    Index(None, "recipient", "id"),
    **STRICT,
)

unsubscriptions = Table(
    "unsubscriptions",
    metadata,
    Column("email", Text, primary_key=True),
    Column("created_at", Instant, nullable=False),
    **STRICT,
)
