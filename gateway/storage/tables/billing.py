"""Money, in integers of nano-dollars. The invariants over these tables: ledger/invariants.py.

An account belongs to an organization, or is the budget of one of its keys. `available` is what may
be leased, `leased` what processes hold and the ledger has not seen spent, `owed` what a refund or a
dispute took beyond what was there. Lots say where the credit came from and in which order it burns.
The ledger is append-only; each entry moves money between one organization and one account of the
platform, so the sum over all accounts is nothing.

What was used: one row a request, and their sums by the hour and by the day of UTC.

The rows are append-only and go with their day's partition when their time is over; the sums stay.
The ledger writes the hours, and triggers carry each change of an hour into its day: whoever writes
them, the days are the sums of the hours.
Rows name their key, model and price without foreign keys: each check would lock a shared row for
every request. An invariant finds the names that are nobody's instead.

Beside them, and counted apart from money: how requests were answered, by the hour.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from gateway.storage.tables.accounts import api_keys, organizations
from gateway.storage.tables.types import NANOS_MAX, STRICT, Day, Id, Instant, metadata, nanos

_ROOM: dict[str, Any] = {
    "postgresql_with": {"fillfactor": 50}
}  # rows that change all the time, in their own page

key_budgets = Table(
    "key_budgets",
    metadata,
    Column("key_id", Id, ForeignKey(api_keys.c.id), primary_key=True),
    Column("period", Text, nullable=False),
    *nanos("limit_nanos"),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("period IN ('month', 'total')", name="period"),
    **STRICT,
)

accounts = Table(
    "accounts",
    metadata,
    # the organization's own id, or one made from the key and the period of a budget
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    Column("key_id", Id, ForeignKey(api_keys.c.id)),
    # of a budget: `total`, or the month as 2026-11
    Column("period", Text),
    # of a budget: what the key may spend in the period
    *nanos("limit_nanos", nullable=True),
    *nanos("available_nanos"),
    *nanos("leased_nanos"),
    *nanos("owed_nanos"),
    # what leases have spent and the ledger has seen, ever
    *nanos("spent_nanos"),
    Column("frozen", Boolean().with_variant(Integer(), "sqlite"), nullable=False),
    # when a process last lacked credit that others hold: they give back what they don't use
    Column("recalled_at", Instant),
    CheckConstraint(
        "(key_id IS NULL AND id = organization_id AND period IS NULL AND limit_nanos IS NULL) OR "
        "(key_id IS NOT NULL AND period IS NOT NULL AND limit_nanos IS NOT NULL)",
        name="owner",
    ),
    UniqueConstraint("key_id", "period"),
    Index(None, "organization_id"),
    Index(
        "ix_accounts_recalled_at",
        "recalled_at",
        postgresql_where=text("recalled_at IS NOT NULL"),
        sqlite_where=text("recalled_at IS NOT NULL"),
    ),
    **STRICT,
    **_ROOM,
)

credit_lots = Table(
    "credit_lots",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(accounts.c.id), nullable=False),
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
    **_ROOM,
)

leases = Table(
    "leases",
    metadata,
    # chosen by the process that asks, so that asking twice grants once
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey(accounts.c.id), nullable=False),
    Column("replica_id", Id, nullable=False),
    *nanos("granted_nanos"),
    # of it, what usage rows have charged
    *nanos("spent_nanos"),
    # of that, what the ledger has seen, in so many entries
    *nanos("posted_nanos"),
    Column("postings", Integer, nullable=False),
    Column("state", Text, nullable=False),
    # the number of the last tick that changed it: one that comes late changes nothing
    Column("tick", BigInteger().with_variant(Integer(), "sqlite"), nullable=False),
    Column("opened_at", Instant, nullable=False),
    # when it last gave back all that it could: later than a recall, it has answered it
    Column("returned_at", Instant, nullable=False),
    # by the database's clock; not indexed, so that a renewal stays in its page
    Column("expires_at", Instant, nullable=False),
    CheckConstraint("state IN ('open', 'closed')", name="state"),
    CheckConstraint("spent_nanos <= granted_nanos", name="spent"),
    CheckConstraint("posted_nanos <= spent_nanos", name="posted"),
    Index(
        "ix_leases_open",
        "account_id",
        postgresql_where=text("state = 'open'"),
        sqlite_where=text("state = 'open'"),
    ),
    Index(None, "opened_at"),
    **STRICT,
    **_ROOM,
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column(
        "id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("organization_id", Id, ForeignKey(accounts.c.id), nullable=False),
    # grant: a lot came in; usage: a lease's spending; expiry: what was left of a lot went;
    # reversal: a payment went back
    Column("kind", Text, nullable=False),
    # the lot, the lease and its posting, the request; it can't be written twice
    Column("ref", Text, nullable=False),
    # to the organization; the counterpart gets as much less
    *nanos("amount_nanos", least=-NANOS_MAX),
    # the platform's own account
    Column("counterpart", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("kind IN ('grant', 'usage', 'expiry', 'reversal')", name="kind"),
    CheckConstraint(
        "counterpart IN ('revenue', 'promo_expense', 'breakage', 'stripe_clearing')",
        name="counterpart",
    ),
    UniqueConstraint("kind", "ref"),
    Index(None, "organization_id", "id"),
    **STRICT,
)


_Count = BigInteger().with_variant(Integer(), "sqlite")

usage_events = Table(
    "usage_events",
    metadata,
    # UUIDv7: unique over all partitions, because it also says in which one it lies
    Column("request_id", Id, primary_key=True),
    Column("organization_id", Id, nullable=False),
    Column("key_id", Id, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("price_id", Id, nullable=False),
    Column("inputs", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    *nanos("cost_nanos"),
    # the cost; or nothing, where an answer was out and its lease and the credit were gone
    *nanos("charged_nanos"),
    # the lease that paid; none when the account paid itself, after the lease was reaped
    Column("lease_id", Id),
    # the account of the key's budget, and the lease of it that paid
    Column("budget_id", Id),
    Column("budget_lease_id", Id),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("inputs > 0 AND tokens > 0", name="counts"),
    CheckConstraint("charged_nanos IN (0, cost_nanos)", name="charged"),
    Index(None, "organization_id", "request_id"),
    **STRICT,
    postgresql_partition_by="RANGE (request_id)",
)

usage_hours = Table(
    "usage_hours",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    # by process, so that two of them seldom wait for one another's row
    Column("shard", SmallInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("requests", _Count, nullable=False),
    Column("inputs", _Count, nullable=False),
    Column("tokens", _Count, nullable=False),
    *nanos("charged_nanos"),
    **STRICT,
    postgresql_with={"fillfactor": 50},
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("day", Day, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("shard", SmallInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("requests", _Count, nullable=False),
    Column("inputs", _Count, nullable=False),
    Column("tokens", _Count, nullable=False),
    *nanos("charged_nanos"),
    **STRICT,
    postgresql_with={"fillfactor": 50},
)

answer_hours = Table(
    "answer_hours",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    # the first digit of the status
    Column("status_class", SmallInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    # a bound that the latency did not pass: see metering.answers
    Column("latency_ms", Integer, primary_key=True),
    Column("answers", _Count, nullable=False),
    CheckConstraint("answers > 0", name="answers"),
    Index(None, "hour"),
    **STRICT,
)
