"""The catalogue: models, and the versions of their prices."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, Text

from gateway.storage.tables.types import STRICT, Id, Instant, metadata, nanos

models = Table(
    "models",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    # what the model is (dimensions, prompts, limits), as JSON: see catalog.models.ModelCard
    Column("card", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("state IN ('coming_soon', 'live', 'retired')", name="state"),
    **STRICT,
)

model_prices = Table(
    "model_prices",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    *nanos("nanos_per_million_tokens"),
    Column("created_at", Instant, nullable=False),
    Index(None, "model_id", "created_at"),
    **STRICT,
)
