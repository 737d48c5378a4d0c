"""Operators: the people who run the service, by role."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Table, Text

from gateway.storage.tables.accounts import users
from gateway.storage.tables.types import STRICT, Id, Instant, metadata

operators = Table(
    "operators",
    metadata,
    Column("user_id", Id, ForeignKey(users.c.id), primary_key=True),
    Column("role", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("role IN ('read', 'support', 'finance', 'operator', 'owner')", name="role"),
    **STRICT,
)
