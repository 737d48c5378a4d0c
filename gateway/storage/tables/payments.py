"""Payments: what organizations buy through Stripe, and what Stripe says of it.

A payment is our own row before Stripe hears of it; Stripe's objects name it in their metadata, and
idempotency keys are made from its id. `due_at` is the one queue of reconciliation: an event, the
buyer's return and the sweep all just set it. Whoever changes a payment, or claims it to read it at
Stripe, raises `version`, so that what was read before is never written after.

Amounts in cents are what the card pays; `credit_nanos` is the credit, without tax. The books of the
platform have an entry for each of Stripe's balance transactions.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
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
from gateway.storage.tables.types import (
    NANOS_MAX,
    STRICT,
    BigInt,
    Id,
    Instant,
    metadata,
    nanos,
    partial_index,
)

_Flag = Boolean().with_variant(Integer(), "sqlite")

payment_customers = Table(
    "payment_customers",
    metadata,
    Column("organization_id", Id, ForeignKey(organizations.c.id), primary_key=True),
    # raised when Stripe's customer was deleted, so that the idempotency key names another one
    Column("generation", Integer, nullable=False),
    Column("customer_id", Text, unique=True),
    # the saved card, which auto top-up charges
    Column("payment_method_id", Text),
    Column("card_brand", Text, nullable=False),
    Column("card_last_four", Text, nullable=False),
    Column("card_expires", Text, nullable=False),
    Column("card_fingerprint", Text, nullable=False),
    # an early fraud warning: no buying and no auto top-up until an operator releases it
    Column("held_at", Instant),
    Column("held_reason", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
    partial_index("ix_payment_customers_held_at", "held_at", where="held_at IS NOT NULL"),
    Index(None, "payment_method_id"),
    **STRICT,
)

buying_holds = Table(
    "buying_holds",
    metadata,
    Column("organization_id", Id, ForeignKey(organizations.c.id), primary_key=True),
    # names what was told, such as a warning by its id: told again, it does not hold again
    Column("reason", Text, primary_key=True),
    Column("created_at", Instant, nullable=False),
    Column("released_at", Instant),
    **STRICT,
)

payments = Table(
    "payments",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey(organizations.c.id), nullable=False),
    # who started it; null for auto top-ups and operators
    Column("user_id", Id, ForeignKey(users.c.id)),
    # checkout: a buyer on Stripe's page; auto: a saved card; found: at Stripe, without a row here
    Column("origin", Text, nullable=False),
    # started: Stripe may not know it; open: waits for the buyer, or for the card's answer;
    # processing: paid by a means that takes days; the others are the end, unless money goes back
    Column("state", Text, nullable=False),
    *nanos("credit_nanos", least=1),
    # without tax
    Column("amount_cents", Integer, nullable=False),
    Column("tax_cents", Integer, nullable=False),
    Column("live", _Flag, nullable=False),
    Column("saves_card", _Flag, nullable=False),
    Column("customer_id", Text),
    # card of an auto top-up, fixed before the first attempt
    Column("payment_method_id", Text),
    Column("tax_calculation_id", Text),
    Column("session_id", Text, unique=True),
    Column("session_url", Text, nullable=False),
    Column("intent_id", Text, unique=True),
    Column("charge_id", Text),
    # with tax, as Stripe said at the last reconciliation
    Column("received_cents", Integer, nullable=False),
    Column("refunded_cents", Integer, nullable=False),
    Column("disputed_cents", Integer, nullable=False),
    # credit and tax that are in the ledger for it now, and in how many entries
    *nanos("posted_nanos"),
    *nanos("tax_posted_nanos"),
    Column("postings", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    # when it is reconciled next; null when Stripe has nothing new to say of it
    Column("due_at", Instant),
    Column("reconciled_at", Instant),
    Column("failure_code", Text, nullable=False),
    Column("failure_reason", Text, nullable=False),
    # what an operator must look at, in words; and the words that an operator has seen
    Column("attention", Text, nullable=False),
    Column("seen", Text, nullable=False),
    # readings in a row that failed because of this payment, not because Stripe was away
    Column("failures", Integer, nullable=False),
    Column("invoice_number", Text, nullable=False),
    Column("invoice_url", Text, nullable=False),
    Column("receipt_url", Text, nullable=False),
    Column("tax_id", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("card_fingerprint", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("paid_at", Instant),
    CheckConstraint("origin IN ('checkout', 'auto', 'found')", name="origin"),
    CheckConstraint(
        "state IN ('started', 'open', 'processing', 'paid', 'failed', 'canceled', 'expired')",
        name="state",
    ),
    CheckConstraint("amount_cents > 0 AND tax_cents >= 0", name="amount"),
    CheckConstraint(
        "received_cents >= 0 AND refunded_cents >= 0 AND disputed_cents >= 0", name="cents"
    ),
    CheckConstraint("posted_nanos <= credit_nanos", name="posted"),
    Index(None, "organization_id", "id"),
    # operators find a payment by what Stripe's dashboard shows of it
    Index(None, "charge_id"),
    partial_index("ix_payments_due_at", "due_at", where="due_at IS NOT NULL"),
    partial_index("ix_payments_attention", "id", where="attention <> ''"),
    # one open attempt of auto top-up an organization
    partial_index(
        "uq_payments_open_auto",
        "organization_id",
        where="origin = 'auto' AND state IN ('started', 'open', 'processing')",
        unique=True,
    ),
    **STRICT,
)

payment_refunds = Table(
    "payment_refunds",
    metadata,
    Column("id", Id, primary_key=True),
    Column("payment_id", Id, ForeignKey(payments.c.id), nullable=False),
    Column("amount_cents", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    # started: Stripe may not know it; then Stripe's own words
    Column("state", Text, nullable=False),
    Column("refund_id", Text, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("amount_cents > 0", name="amount"),
    Index(None, "payment_id"),
    Index(None, "state", "created_at"),
    **STRICT,
)

payment_disputes = Table(
    "payment_disputes",
    metadata,
    # Stripe's
    Column("id", Text, primary_key=True),
    Column("payment_id", Id, ForeignKey(payments.c.id), nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("amount_cents", Integer, nullable=False),
    Column("evidence_due_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Index(None, "payment_id"),
    **STRICT,
)

stripe_events = Table(
    "stripe_events",
    metadata,
    # Stripe's: one that comes again is not stored again
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    # what it is about; whatever else it says may be old and is read anew
    Column("object_id", Text, nullable=False),
    Column("intent_id", Text),
    Column("payment_id", Text),
    Column("customer_id", Text),
    Column("created_at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False),
    # null once what it is about has been made due
    Column("due_at", Instant),
    Column("attempts", Integer, nullable=False),
    # why the last attempt failed; that of an event that is not due anymore was given up
    Column("problem", Text, nullable=False, server_default=""),
    partial_index("ix_stripe_events_due_at", "due_at", where="due_at IS NOT NULL"),
    partial_index("ix_stripe_events_problem", "received_at", where="problem <> ''"),
    Index(None, "received_at"),
    Index(None, "object_id"),
    Index(None, "intent_id"),
    **STRICT,
)

stripe_transactions = Table(
    "stripe_transactions",
    metadata,
    # of Stripe's balance: its id there
    Column("id", Text, primary_key=True),
    Column("payment_id", Id, ForeignKey(payments.c.id), nullable=False),
    Column("type", Text, nullable=False),
    Column("gross_cents", Integer, nullable=False),
    Column("fee_cents", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "payment_id"),
    **STRICT,
)

stripe_cursors = Table(
    "stripe_cursors",
    metadata,
    # a list at Stripe that a sweep walks, and until when it has been read
    Column("name", Text, primary_key=True),
    Column("read_until", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    **STRICT,
)

book_entries = Table(
    "book_entries",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=True),
    Column("payment_id", Id, ForeignKey(payments.c.id), nullable=False),
    # transaction: one of Stripe's balance; fee: of it; tax: of the payment
    Column("kind", Text, nullable=False),
    # the balance transaction, or the payment and the number of its posting
    Column("ref", Text, nullable=False),
    # added to an account of the platform, and taken from another
    *nanos("amount_nanos", least=-NANOS_MAX),
    Column("account", Text, nullable=False),
    Column("counterpart", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("kind IN ('transaction', 'fee', 'tax')", name="kind"),
    CheckConstraint(
        "account IN ('receivable', 'tax_payable', 'stripe_fees', 'stripe_clearing') AND "
        "counterpart IN ('receivable', 'tax_payable', 'stripe_fees', 'stripe_clearing') AND "
        "account <> counterpart",
        name="accounts",
    ),
    UniqueConstraint("kind", "ref"),
    Index(None, "payment_id"),
    **STRICT,
)

auto_top_ups = Table(
    "auto_top_ups",
    metadata,
    Column("organization_id", Id, ForeignKey(organizations.c.id), primary_key=True),
    Column("enabled", _Flag, nullable=False),
    # below this balance, this much is bought
    *nanos("threshold_nanos"),
    Column("amount_cents", Integer, nullable=False),
    # at most, without tax, in a calendar month of UTC
    Column("month_cents_max", Integer, nullable=False),
    # why it stands still though enabled: authentication, declined; empty when it does not
    Column("paused", Text, nullable=False),
    # declined attempts in a row with this card
    Column("declines", Integer, nullable=False),
    Column("declined_card", Text, nullable=False),
    Column("not_before", Instant),
    Column("changed_by", Id, ForeignKey(users.c.id)),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("amount_cents > 0 AND month_cents_max >= amount_cents", name="amounts"),
    CheckConstraint("paused IN ('', 'authentication', 'declined')", name="paused"),
    **STRICT,
)
