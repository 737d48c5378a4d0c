"""Money, in integers of nano-dollars: accounts, credit, leases, the ledger, and usage.

An account belongs to an organization, or is the budget of one of its keys. `available` may be
leased; `leased` is held by processes and not yet posted as spent; `owed` is what a refund or a
dispute took beyond what was available, and nothing is available while anything is owed. An account
that owes is frozen, and so is one with a row in `freezes`: it leases no credit. Lots say where
credit came from and in which order it burns. The ledger is append-only; each entry moves money
between one organization and one account of the platform, so all accounts sum to zero. What must
hold is in ledger/invariants.py.

Usage is one append-only row a request, dropped with its day's partition, and its sums by the hour
and by the UTC day, which stay. The ledger writes the hours; triggers carry each change into the
day. Usage rows name their key, model and price without foreign keys, since each check would lock a
shared row for every request; an invariant finds names that don't exist.

The roots of receipts are one row a tick, for as long as the usage that they cover, and the public
keys that signed them are kept for good.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from gateway.storage.tables.accounts import api_keys, organizations
from gateway.storage.tables.types import (
    HALF_FULL,
    NANOS_MAX,
    STRICT,
    BigInt,
    Day,
    Id,
    Instant,
    SmallInt,
    metadata,
    nanos,
    partial_index,
    recent_index,
    sums,
)

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
    # the organization's id, or one derived from the key and the period of a budget
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    Column("key_id", Id, ForeignKey(api_keys.c.id)),
    # of a budget: `total`, or the month as 2026-11
    Column("period", Text),
    # of a budget: what the key may spend in that period
    *nanos("limit_nanos", nullable=True),
    *sums("available_nanos"),
    *sums("leased_nanos"),
    *sums("owed_nanos"),
    # all that was ever spent and posted
    *sums("spent_nanos"),
    # says nothing: for processes of 0.1 that run beside this version; the next one drops it
    Column(
        "frozen",
        Boolean().with_variant(Integer(), "sqlite"),
        nullable=False,
        server_default=false(),
    ),
    # the last recall: a process lacked credit, so the others return what they don't use
    Column("recalled_at", Instant),
    CheckConstraint(
        "(key_id IS NULL AND id = organization_id AND period IS NULL AND limit_nanos IS NULL) OR "
        "(key_id IS NOT NULL AND period IS NOT NULL AND limit_nanos IS NOT NULL)",
        name="owner",
    ),
    UniqueConstraint("key_id", "period"),
    Index(None, "organization_id"),
    partial_index("ix_accounts_recalled_at", "recalled_at", where="recalled_at IS NOT NULL"),
    # every tick looks for debtors
    partial_index("ix_accounts_owing", "id", where="owed_nanos > 0"),
    **STRICT,
    **HALF_FULL,
)

freezes = Table(
    "freezes",
    metadata,
    Column("account_id", Id, ForeignKey(accounts.c.id), primary_key=True),
    # each cause is lifted by itself only; that an account owes is no row: `owed_nanos` says it
    Column("cause", Text, primary_key=True),
    # of what has that cause: the payment that is disputed; empty where there is one only
    Column("ref", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("cause IN ('dispute', 'operator', 'books')", name="cause"),
    **STRICT,
)

credit_lots = Table(
    "credit_lots",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(accounts.c.id), nullable=False),
    Column("kind", Text, nullable=False),
    *nanos("amount_nanos", least=1),
    *nanos("remaining_nanos"),
    # all that was taken of it, less what was put back
    Column("burned_nanos", BigInt, nullable=False, server_default=text("0")),
    # why it was granted; a second grant with the same reference changes nothing
    Column("source_ref", Text, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    CheckConstraint("kind IN ('promo', 'paid')", name="kind"),
    CheckConstraint(f"burned_nanos BETWEEN 0 AND {NANOS_MAX}", name="burned_nanos"),
    CheckConstraint("remaining_nanos + burned_nanos = amount_nanos", name="burned"),
    Index(None, "organization_id"),
    Index(None, "expires_at"),
    **STRICT,
    **HALF_FULL,
)

leases = Table(
    "leases",
    metadata,
    # chosen by the process that asks, so that asking twice grants once
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey(accounts.c.id), nullable=False),
    Column("replica_id", Id, nullable=False),
    *sums("granted_nanos"),
    # of that, charged by usage rows
    *sums("spent_nanos"),
    # of that, posted to the ledger, in `postings` entries
    *sums("posted_nanos"),
    Column("postings", Integer, nullable=False),
    Column("state", Text, nullable=False),
    # number of the last tick that changed it: one that arrives late changes nothing
    Column("tick", BigInt, nullable=False),
    Column("opened_at", Instant, nullable=False),
    # when it last returned all that it could; later than a recall means that it has answered it
    Column("returned_at", Instant, nullable=False),
    # by the database's clock; not indexed, so that renewing a lease stays in its page
    Column("expires_at", Instant, nullable=False),
    CheckConstraint("state IN ('open', 'closed')", name="state"),
    CheckConstraint("spent_nanos <= granted_nanos", name="spent"),
    CheckConstraint("posted_nanos <= spent_nanos", name="posted"),
    partial_index("ix_leases_open", "account_id", where="state = 'open'"),
    Index(None, "opened_at"),
    **STRICT,
    **HALF_FULL,
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=True),
    Column("organization_id", Id, ForeignKey(accounts.c.id), nullable=False),
    # grant: a lot came in; usage: a lease's spending; expiry: the rest of a lot ended;
    # topup, reversal: a payment raised and lowered its credit; takeback: an operator took credit
    Column("kind", Text, nullable=False),
    # the lot, the lease, payment or lot and the number of its posting, or the request: it can't be
    # entered twice
    Column("ref", Text, nullable=False),
    # added to the organization, and taken from the counterpart
    *nanos("amount_nanos", least=-NANOS_MAX),
    # the platform's own account
    Column("counterpart", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    # why an operator took credit back
    Column("reason", Text),
    CheckConstraint(
        "kind IN ('grant', 'usage', 'expiry', 'reversal', 'topup', 'takeback')", name="kind"
    ),
    CheckConstraint(
        "counterpart IN "
        "('revenue', 'promo_expense', 'breakage', 'receivable', 'manual_adjustments')",
        name="counterpart",
    ),
    UniqueConstraint("kind", "ref"),
    Index(None, "organization_id", "id"),
    **STRICT,
)

usage_events = Table(
    "usage_events",
    metadata,
    # UUIDv7: the partition follows from it, so it is unique over all of them
    Column("request_id", Id, primary_key=True),
    Column("organization_id", Id, nullable=False),
    Column("key_id", Id, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("price_id", Id, nullable=False),
    Column("inputs", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
    *nanos("cost_nanos"),
    # the cost; or 0 where the answer was sent before its lease and its credit turned out to be
    # gone, and where an equal request was charged instead (`paid_prints`)
    *nanos("charged_nanos"),
    # the lease that paid; null when the account paid directly, after the lease was reaped
    Column("lease_id", Id),
    # the account of the key's budget, and the lease of it that paid
    Column("budget_id", Id),
    Column("budget_lease_id", Id),
    Column("created_at", Instant, nullable=False),
    # on PostgreSQL, the order in which rows came: their ids are of when requests were made
    Column("position", BigInt),
    CheckConstraint("inputs > 0 AND tokens > 0", name="counts"),
    CheckConstraint("charged_nanos IN (0, cost_nanos)", name="charged"),
    Index(None, "organization_id", "request_id"),
    **STRICT,
    postgresql_partition_by="RANGE (request_id)",
)

paid_prints = Table(
    "paid_prints",
    metadata,
    # what equal requests of a key have in common: their bytes, and their Idempotency-Key
    Column("key_id", Id, primary_key=True),
    Column("print", Text, primary_key=True),
    # the one that was charged: while this row stands, others are free
    Column("request_id", Id, nullable=False),
    # only one of them, because nobody got the answer
    Column(
        "is_once",
        Boolean().with_variant(Integer(), "sqlite"),
        nullable=False,
    ),
    # who was free for it first
    Column("used_by", Id),
    Column("expires_at", Instant, nullable=False),
    Index(None, "expires_at"),
    **STRICT,
)

usage_hours = Table(
    "usage_hours",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    # of the process, so that two processes seldom wait for one another's row
    Column("shard", SmallInt, primary_key=True),
    Column("requests", BigInt, nullable=False),
    Column("inputs", BigInt, nullable=False),
    Column("tokens", BigInt, nullable=False),
    *nanos("charged_nanos"),
    recent_index("ix_usage_hours_hour", "hour"),
    **STRICT,
    **HALF_FULL,
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("organization_id", Id, primary_key=True),
    Column("day", Day, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("shard", SmallInt, primary_key=True),
    Column("requests", BigInt, nullable=False),
    Column("inputs", BigInt, nullable=False),
    Column("tokens", BigInt, nullable=False),
    *nanos("charged_nanos"),
    # who uses a model: its demand, and whom a new price affects
    Index(None, "model_id", "day"),
    recent_index("ix_usage_days_day", "day"),
    **STRICT,
    **HALF_FULL,
)

receipt_roots = Table(
    "receipt_roots",
    metadata,
    # UUIDv7, as for usage_events
    Column("id", Id, primary_key=True),
    # how many receipts the tree has
    Column("size", Integer, nullable=False),
    Column("root", LargeBinary, nullable=False),
    # the digest of the statement before in the chain of one process; zeros for its first
    Column("previous", LargeBinary, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    CheckConstraint("size > 0", name="size"),
    **STRICT,
    postgresql_partition_by="RANGE (id)",
)

receipt_keys = Table(
    "receipt_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("public", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    **STRICT,
)

promotion_shares = Table(
    "promotion_shares",
    metadata,
    # what of a day's budget one mail domain or network has, by a digest that names neither
    Column("day", Text, primary_key=True),
    Column("share", LargeBinary, primary_key=True),
    *nanos("granted_nanos"),
    **STRICT,
)

promotion_days = Table(
    "promotion_days",
    metadata,
    # one row a day keeps the day's budget exact however many sign in at once
    Column("day", Text, primary_key=True),
    *nanos("granted_nanos"),
    **STRICT,
)
