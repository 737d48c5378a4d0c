"""How often visitors did what is limited: a row for each, for an hour."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table

from gateway.storage.tables.types import STRICT, Instant, metadata

quota_windows = Table(
    "quota_windows",
    metadata,
    # of what is limited and of whom: no address of the network stands here, see site.quotas
    Column("digest", LargeBinary, primary_key=True),
    Column("began_at", Instant, nullable=False),
    # more than the limit, once somebody was refused
    Column("used", Integer, nullable=False),
    CheckConstraint("used > 0", name="used"),
    Index(None, "began_at"),
    **STRICT,
)
