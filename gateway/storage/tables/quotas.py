"""Rate limits of pages across processes: how often a visitor did a limited thing in an hour."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table

from gateway.storage.tables.types import STRICT, Instant, metadata

quota_windows = Table(
    "quota_windows",
    metadata,
    # of the limit and the visitor, so that no network address is stored
    Column("digest", LargeBinary, primary_key=True),
    Column("began_at", Instant, nullable=False),
    # above the limit once the visitor has been refused
    Column("used", Integer, nullable=False),
    CheckConstraint("used > 0", name="used"),
    Index(None, "began_at"),
    **STRICT,
)
