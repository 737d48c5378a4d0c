"""Demand for models that are not live yet: votes, waitlist, events; and their launches."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.storage.tables.accounts import organizations, users
from gateway.storage.tables.catalog import model_prices, models
from gateway.storage.tables.types import STRICT, BigInt, Id, Instant, metadata, nanos

demand_votes = Table(
    "demand_votes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    Column("user_id", Id, ForeignKey(users.c.id), nullable=False),
    # the normalized address: one vote a person, whatever spelling they sign in with
    Column("voter_key", Text, nullable=False),
    Column("volume_million_tokens", Integer),
    *nanos("price_max_nanos", nullable=True),
    Column("use_case", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("volume_million_tokens BETWEEN 1 AND 1000000000", name="volume"),
    CheckConstraint("length(use_case) <= 500", name="use_case"),
    UniqueConstraint("model_id", "voter_key"),
    Index(None, "voter_key"),
    Index(None, "user_id"),
    **STRICT,
)

set_aside_votes = Table(
    "set_aside_votes",
    metadata,
    # apart from the vote, so that withdrawing it and voting again changes nothing
    Column("model_id", Text, ForeignKey(models.c.id), primary_key=True),
    Column("voter_key", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "voter_key"),
    **STRICT,
)

demand_standings = Table(
    "demand_standings",
    metadata,
    Column("model_id", Text, ForeignKey(models.c.id), primary_key=True),
    # as JSON: see DemandStanding in control_plane/demand/standings.py
    Column("standing", Text, nullable=False),
    Column("computed_at", Instant, nullable=False),
    **STRICT,
)

waitlist_entries = Table(
    "waitlist_entries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    Column("email", Text, nullable=False),
    Column("address_key", Text, nullable=False),
    Column("user_id", Id, ForeignKey(users.c.id)),
    # only those who opened the mailed link are on the list
    Column("confirmed_at", Instant, nullable=False),
    UniqueConstraint("model_id", "address_key"),
    Index(None, "address_key"),
    Index(None, "user_id"),
    **STRICT,
)

demand_events = Table(
    "demand_events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey(models.c.id), nullable=False),
    Column("kind", Text, nullable=False),
    # whose key called; null for what visitors do
    Column("organization_id", Id, ForeignKey(organizations.c.id)),
    # views and calls are counted in memory and written together
    Column("count", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint(
        "kind IN ('view', 'call', 'vote', 'withdraw', 'waitlist', 'leave', 'notified')", name="kind"
    ),
    CheckConstraint("count > 0", name="count"),
    Index(None, "model_id", "kind", "created_at"),
    Index(None, "created_at"),
    **STRICT,
)

demand_months = Table(
    "demand_months",
    metadata,
    # the sums of demand_events of a month that is long over
    Column("model_id", Text, ForeignKey(models.c.id), primary_key=True),
    Column("kind", Text, primary_key=True),
    # as 2026-11, in UTC
    Column("month", Text, primary_key=True),
    Column("count", BigInt, nullable=False),
    CheckConstraint("count > 0", name="count"),
    **STRICT,
)

launches = Table(
    "launches",
    metadata,
    # a model is launched once: the second launch finds the first
    Column("model_id", Text, ForeignKey(models.c.id), primary_key=True),
    Column("price_id", Id, ForeignKey(model_prices.c.id), nullable=False),
    Column("launched_at", Instant, nullable=False),
    # when the first mails were written; the waves count from it
    Column("began_at", Instant),
    # when the last mail of the launch was put into the outbox
    Column("announced_at", Instant),
    # mails put into the outbox so far
    Column("recipients", Integer),
    # since when an operator holds its mails back; null: they leave
    Column("paused_at", Instant),
    **STRICT,
)

launch_organizations = Table(
    "launch_organizations",
    metadata,
    Column("model_id", Text, ForeignKey(models.c.id), primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), primary_key=True),
    # why the launch credit was granted or not: see control_plane/billing/promotions.py
    Column("credit", Text, nullable=False),
    Column("decided_at", Instant, nullable=False),
    # when a mail to one of its members was written; null where all of them have unsubscribed
    Column("told_at", Instant),
    CheckConstraint(
        "credit IN ('granted', 'granted_before', 'disposable', 'budget', 'off')", name="credit"
    ),
    **STRICT,
)

model_requests = Table(
    "model_requests",
    metadata,
    # models that the catalog does not have, by name: see control_plane/demand/asks.py
    Column("key", Text, primary_key=True),
    # as it was spelled first
    Column("name", Text, nullable=False),
    Column("forms", BigInt, nullable=False),
    Column("searches", BigInt, nullable=False),
    Column("pages", BigInt, nullable=False),
    Column("calls", BigInt, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    CheckConstraint("length(name) <= 100", name="name"),
    **STRICT,
)
