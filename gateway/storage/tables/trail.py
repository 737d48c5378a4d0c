"""The audit trail: entries that are only ever added, the personal words that they refer to, audits.

Triggers refuse everything else: see migrations/sql/0007_trail_postgresql.sql.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, LargeBinary, Table, Text

from gateway.storage.tables.accounts import organizations
from gateway.storage.tables.types import STRICT, BigInt, Id, Instant, metadata

trail_heads = Table(
    "trail_heads",
    metadata,
    # one row, kept by a trigger: the newest entry, or 0 and 32 zero bytes before the first
    Column("number", BigInt, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    **STRICT,
)

trail_entries = Table(
    "trail_entries",
    metadata,
    # 1, 2, 3 ... without a gap
    Column("number", BigInt, primary_key=True, autoincrement=False),
    Column("created_at", Instant, nullable=False),
    Column("actor_kind", Text, nullable=False),
    # a user's id; no foreign key, since the row outlives everything
    Column("actor_id", Id),
    # the organization that may read it; null: operators alone
    Column("organization_id", Id, ForeignKey(organizations.c.id)),
    Column("action", Text, nullable=False),
    # what was acted on, as KIND:ID
    Column("subject", Text, nullable=False),
    # JSON objects of ids, numbers and states; words about people are digests of trail_words
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    # digests of the reason and of where the request came from; empty: none
    Column("reason", Text, nullable=False),
    Column("origin", Text, nullable=False),
    # SHA-256 of the previous entry's hash and of this entry: see control_plane/trail/entries.py
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("actor_kind IN ('operator', 'member', 'command', 'system')", name="actor_kind"),
    Index(None, "organization_id", "number"),
    Index(None, "actor_id", "number"),
    Index(None, "subject", "number"),
    Index(None, "action", "number"),
    Index("ix_trail_entries_at", "created_at"),
    **STRICT,
)

trail_words = Table(
    "trail_words",
    metadata,
    # SHA-256 of the salt and the words, in hex
    Column("digest", Text, primary_key=True),
    # both are emptied when the person is forgotten; the row stays, and triggers allow nothing else
    Column("salt", LargeBinary, nullable=False),
    Column("words", Text, nullable=False),
    # the person whose account's end erases it; null: nobody's
    Column("user_id", Id),
    Index(None, "user_id"),
    **STRICT,
)

audit_runs = Table(
    "audit_runs",
    metadata,
    Column("id", Id, primary_key=True),
    # ledger or trail
    Column("name", Text, nullable=False),
    Column("began_at", Instant, nullable=False),
    Column("ended_at", Instant, nullable=False),
    # when the next one must have run
    Column("due_at", Instant, nullable=False),
    # a JSON object: what is broken, and up to 20 of what breaks it
    Column("breaches", Text, nullable=False),
    Column("broken_since", Instant),
    # of the trail: the number of the entry up to which it was checked; the next audit goes on there
    Column("position", BigInt, nullable=False),
    # of the ledger, as JSON: the balance of each account of the platform, and of organizations
    Column("balances", Text),
    Index(None, "name", "id"),
    Index(None, "began_at"),
    **STRICT,
)
