"""Which versions of the code run on the schema: what lets a version start on a newer one."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from gateway.storage.tables.types import STRICT, metadata

schema_ranges = Table(
    "schema_ranges",
    metadata,
    # a revision that has been applied; the newest is that of alembic_version
    Column("revision", Text, primary_key=True),
    # the oldest revision whose code runs on it: what knows this one may start
    Column("runs_from", Text, nullable=False),
    **STRICT,
)
