"""Money, in integers of nano-dollars. The invariants over these tables: ledger/invariants.py.

An account's `available` is what may be reserved, `reserved` what requests at work hold. Lots say
where the credit came from and in which order it burns. The ledger is append-only.
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
    UniqueConstraint,
)

from gateway.storage.tables.accounts import api_keys, organizations
from gateway.storage.tables.catalog import model_prices, models
from gateway.storage.tables.types import NANOS_MAX, STRICT, Id, Instant, metadata, nanos

accounts = Table(
    "accounts",
    metadata,
    Column("organization_id", Id, ForeignKey(organizations.c.id), primary_key=True),
    *nanos("available_nanos"),
    *nanos("reserved_nanos"),
    **STRICT,
)

credit_lots = Table(
    "credit_lots",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(accounts.c.organization_id), nullable=False),
    Column("kind", Text, nullable=False),
    *nanos("amount_nanos", least=1),
    *nanos("remaining_nanos"),
    # who granted it and why, once: a second grant with the same reference changes nothing
    Column("source_ref", Text, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    CheckConstraint("kind IN ('promo', 'paid')", name="kind"),
    CheckConstraint("remaining_nanos <= amount_nanos", name="remaining"),
    Index(None, "organization_id"),
    Index(None, "expires_at"),
    **STRICT,
)

reservations = Table(
    "reservations",
    metadata,
    Column("request_id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(accounts.c.organization_id), nullable=False),
    *nanos("cost_nanos"),
    Column("expires_at", Instant, nullable=False),
    Index(None, "organization_id"),
    Index(None, "expires_at"),
    **STRICT,
)

usage_events = Table(
    "usage_events",
    metadata,
    Column("request_id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(accounts.c.organization_id), nullable=False),
    Column("key_id", Id, ForeignKey(api_keys.c.id), nullable=False),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    Column("price_id", Id, ForeignKey(model_prices.c.id), nullable=False),
    Column("inputs", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    *nanos("cost_nanos"),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("inputs > 0 AND tokens > 0", name="counts"),
    Index(None, "organization_id", "created_at"),
    **STRICT,
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column(
        "id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("organization_id", Id, ForeignKey(accounts.c.organization_id), nullable=False),
    # grant: a lot came in; usage: a request was charged; expiry: what was left of a lot went
    Column("kind", Text, nullable=False),
    # the lot or the request; with the kind it makes an entry impossible to write twice
    Column("ref", Id, nullable=False),
    *nanos("amount_nanos", least=-NANOS_MAX),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("kind IN ('grant', 'usage', 'expiry')", name="kind"),
    UniqueConstraint("kind", "ref"),
    Index(None, "organization_id", "id"),
    **STRICT,
)
