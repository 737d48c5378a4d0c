"""The catalogue: models, the versions of their prices, and their golden vectors.

Triggers number every change and note the number at its model, so that a process reads what is new
since its last look and nothing else. Models are retired, never deleted.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from gateway.storage.tables.types import STRICT, Id, Instant, metadata, nanos

_Version = BigInteger().with_variant(Integer(), "sqlite")

catalog_versions = Table(
    "catalog_versions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # of the newest change; the transaction that makes one holds this row to its end
    Column("version", _Version, nullable=False),
    CheckConstraint("id = 1", name="one"),
    **STRICT,
)

models = Table(
    "models",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    # what the model is (dimensions, prompts, limits), as JSON: see catalog.models.ModelCard
    Column("card", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    # of its newest change, its prices and golden vectors included
    Column("version", _Version, nullable=False, server_default=text("1")),
    CheckConstraint("state IN ('coming_soon', 'live', 'retired')", name="state"),
    **STRICT,
)

golden_rows = Table(
    "golden_rows",
    metadata,
    # no foreign key: a file may know a model before the catalogue does
    Column("model_id", Text, primary_key=True),
    Column("revision", Text, primary_key=True),
    # as JSON: see snapshots.GoldenRow
    Column("rows", Text, nullable=False),
    Column("pinned_at", Instant, nullable=False),
    **STRICT,
)

model_prices = Table(
    "model_prices",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    # flex: for requests that may wait for the others
    Column("tier", Text, nullable=False, server_default="default"),
    *nanos("nanos_per_million_tokens"),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("tier IN ('default', 'flex')", name="tier"),
    Index(None, "model_id", "created_at"),
    **STRICT,
)
