"""Status: times in which a live model had no ready worker, and how requests were answered."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text

from gateway.storage.tables.catalog import models
from gateway.storage.tables.types import (
    STRICT,
    BigInt,
    Id,
    Instant,
    SmallInt,
    metadata,
    partial_index,
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    partial_index("uq_incidents_open", "model_id", where="ended_at IS NULL", unique=True),
    Index(None, "started_at"),
    **STRICT,
)

answer_hours = Table(
    "answer_hours",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    # the first digit of the status
    Column("status_class", SmallInt, primary_key=True),
    # upper bound of the latency: see control_plane/status/answers.py
    Column("latency_ms", Integer, primary_key=True),
    Column("answers", BigInt, nullable=False),
    CheckConstraint("answers > 0", name="answers"),
    Index(None, "hour"),
    **STRICT,
)
