"""The catalog: models, the versions of their prices, and their golden vectors.

Triggers number every change and store the number with its model, so that a process reads only what
is new since it last looked. Models are retired, never deleted.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text, text

from gateway.storage.tables.types import STRICT, BigInt, Id, Instant, metadata, nanos, partial_index

catalog_versions = Table(
    "catalog_versions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # number of the newest change; the transaction that makes one holds this row until it ends
    Column("version", BigInt, nullable=False),
    CheckConstraint("id = 1", name="one"),
    **STRICT,
)

models = Table(
    "models",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    # dimensions, prompts, limits, as JSON: see ModelCard in control_plane/catalog
    Column("card", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    # number of its newest change, its prices and golden vectors included
    Column("version", BigInt, nullable=False, server_default=text("1")),
    # what operators set, as JSON: fields of the card, and fields of the page; null: nothing.
    # SQLite numbers a change of these only in a statement that sets `card` too
    Column("card_edits", Text),
    Column("page_edits", Text),
    CheckConstraint("state IN ('coming_soon', 'live', 'retired')", name="state"),
    **STRICT,
)

golden_rows = Table(
    "golden_rows",
    metadata,
    # no foreign key: a file may name a model before the catalog has it
    Column("model_id", Text, primary_key=True),
    Column("revision", Text, primary_key=True),
    # as JSON: see GoldenRow in gateway/snapshots.py
    Column("rows", Text, nullable=False),
    Column("pinned_at", Instant, nullable=False),
    **STRICT,
)

model_prices = Table(
    "model_prices",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    # flex: the lower price of requests that may wait
    Column("tier", Text, nullable=False, server_default="default"),
    *nanos("nanos_per_million_tokens"),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("tier IN ('default', 'flex')", name="tier"),
    Index(None, "model_id", "created_at"),
    **STRICT,
)

price_changes = Table(
    "price_changes",
    metadata,
    # a price that will apply; then it becomes a version in model_prices
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    Column("tier", Text, nullable=False),
    *nanos("nanos_per_million_tokens"),
    Column("effective_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    # the version that it became, or when an operator called it off
    Column("price_id", Id, ForeignKey(model_prices.c.id)),
    Column("canceled_at", Instant),
    # when all who use the model were told of it; at once if there is nothing to tell
    Column("announced_at", Instant),
    CheckConstraint("tier IN ('default', 'flex')", name="tier"),
    Index(None, "model_id"),
    partial_index(
        "ix_price_changes_waiting",
        "effective_at",
        where="price_id IS NULL AND canceled_at IS NULL",
    ),
    **STRICT,
)
