"""Attention: what operators have put off, and the filters of lists that they keep."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Table, Text, UniqueConstraint

from gateway.storage.tables.accounts import users
from gateway.storage.tables.types import STRICT, Id, Instant, metadata

snoozes = Table(
    "snoozes",
    metadata,
    # names the cause: see Need in control_plane/attention/needs.py
    Column("key", Text, primary_key=True),
    # how bad it was then: worse than that, it is shown again
    Column("severity", Text, nullable=False),
    Column("reason", Text, nullable=False),
    # null: the command line, while there are no operators
    Column("user_id", Id, ForeignKey(users.c.id)),
    Column("created_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    CheckConstraint("severity IN ('critical', 'warning', 'notice')", name="severity"),
    **STRICT,
)

saved_filters = Table(
    "saved_filters",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey(users.c.id), nullable=False),
    # the list that it is of
    Column("path", Text, nullable=False),
    Column("name", Text, nullable=False),
    # as in the address, without a question mark
    Column("query", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("length(name) BETWEEN 1 AND 60", name="name"),
    CheckConstraint("length(query) <= 500", name="query"),
    UniqueConstraint("user_id", "path", "name"),
    **STRICT,
)
