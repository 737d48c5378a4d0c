"""The back office: money that operators order, their notes, and as whom they view the console."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, Text

from gateway.storage.tables.accounts import organizations, sessions, users
from gateway.storage.tables.types import STRICT, Id, Instant, metadata, nanos, partial_index

money_orders = Table(
    "money_orders",
    metadata,
    # chosen by whoever orders: the id of a form, or made of a reference; the same one is done once
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    # what is to be done, in JSON: see control_plane/back_office/orders.py
    Column("details", Text, nullable=False),
    *nanos("amount_nanos", least=1),
    # who ordered it; null: the command line, before there were operators
    Column("operator_id", Id, ForeignKey(users.c.id)),
    # while it waits; the trail has it afterwards
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    # when it is done without a second operator, because there is none; null: it waits for one
    Column("due_at", Instant),
    # the second operator, if one decided
    Column("decided_by", Id, ForeignKey(users.c.id)),
    Column("decided_at", Instant),
    # why it could not be done when it was time
    Column("problem", Text, nullable=False),
    CheckConstraint("state IN ('waiting', 'done', 'rejected', 'failed')", name="state"),
    Index(None, "operator_id", "created_at"),
    partial_index("ix_money_orders_waiting", "id", where="state = 'waiting'"),
    **STRICT,
)

organization_notes = Table(
    "organization_notes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    # null: the command line, before there were operators
    Column("author_id", Id, ForeignKey(users.c.id)),
    Column("words", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "organization_id", "id"),
    **STRICT,
)

operator_views = Table(
    "operator_views",
    metadata,
    # the operator's session, which sees the console as the organization does
    Column("session_id", Id, ForeignKey(sessions.c.id, ondelete="CASCADE"), primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    Column("ends_at", Instant, nullable=False),
    **STRICT,
)
