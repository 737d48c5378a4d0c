"""Times in which a live model had no ready worker."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table, Text, text

from gateway.storage.tables.catalog import models
from gateway.storage.tables.types import STRICT, Id, Instant, metadata

incidents = Table(
    "incidents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Index(
        "uq_incidents_open",
        "model_id",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index(None, "started_at"),
    **STRICT,
)
