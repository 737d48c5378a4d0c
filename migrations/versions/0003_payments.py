"""Payments: what is bought through Stripe, what Stripe says of it, and the platform's books.

What the tables and columns mean: gateway/storage/tables/payments.py.
"""

from alembic import op
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.schema import SchemaItem

from migrations.types import (
    NAMES,
    NANOS_MAX,
    Count,
    Flag,
    Id,
    Instant,
    nanos,
    partial_index,
)

revision = "0003_payments"
down_revision = "0002_freezes_and_books"
branch_labels = None
depends_on = None

_schema = MetaData(naming_convention=NAMES)
_BEFORE = [
    Table(name, _schema, Column("id", Id, primary_key=True)) for name in ("organizations", "users")
]


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # 0002 changed them; this reads the whole ledger and lets others write meanwhile
        for name in ("kind", "counterpart"):
            op.execute(f"ALTER TABLE ledger_entries VALIDATE CONSTRAINT ck_ledger_entries_{name}")
    _schema.create_all(op.get_bind(), tables=_added(), checkfirst=False)


def downgrade() -> None:
    _schema.drop_all(op.get_bind(), tables=_added(), checkfirst=False)


def _added() -> list[Table]:
    """Return the tables of this revision, without those that only foreign keys name."""
    return [table for table in _schema.sorted_tables if table not in _BEFORE]


def table(name: str, *parts: SchemaItem) -> None:
    Table(name, _schema, *parts, sqlite_strict=True)


table(
    "payment_customers",
    Column("organization_id", Id, ForeignKey("organizations.id"), primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("customer_id", Text, unique=True),
    Column("payment_method_id", Text),
    Column("card_brand", Text, nullable=False),
    Column("card_last_four", Text, nullable=False),
    Column("card_expires", Text, nullable=False),
    Column("card_fingerprint", Text, nullable=False),
    Column("held_at", Instant),
    Column("held_reason", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
    partial_index("ix_payment_customers_held_at", "held_at", where="held_at IS NOT NULL"),
    Index(None, "payment_method_id"),
)

table(
    "buying_holds",
    Column("organization_id", Id, ForeignKey("organizations.id"), primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("created_at", Instant, nullable=False),
    Column("released_at", Instant),
)

table(
    "payments",
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organizations.id"), nullable=False),
    Column("user_id", Id, ForeignKey("users.id")),
    Column("origin", Text, nullable=False),
    Column("state", Text, nullable=False),
    *nanos("credit_nanos", least=1),
    Column("amount_cents", Integer, nullable=False),
    Column("tax_cents", Integer, nullable=False),
    Column("live", Flag, nullable=False),
    Column("saves_card", Flag, nullable=False),
    Column("customer_id", Text),
    Column("payment_method_id", Text),
    Column("tax_calculation_id", Text),
    Column("session_id", Text, unique=True),
    Column("session_url", Text, nullable=False),
    Column("intent_id", Text, unique=True),
    Column("charge_id", Text),
    Column("received_cents", Integer, nullable=False),
    Column("refunded_cents", Integer, nullable=False),
    Column("disputed_cents", Integer, nullable=False),
    *nanos("posted_nanos"),
    *nanos("tax_posted_nanos"),
    Column("postings", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("due_at", Instant),
    Column("reconciled_at", Instant),
    Column("failure_code", Text, nullable=False),
    Column("failure_reason", Text, nullable=False),
    Column("attention", Text, nullable=False),
    Column("seen", Text, nullable=False),
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
    partial_index("ix_payments_due_at", "due_at", where="due_at IS NOT NULL"),
    partial_index("ix_payments_attention", "id", where="attention <> ''"),
    partial_index(
        "uq_payments_open_auto",
        "organization_id",
        where="origin = 'auto' AND state IN ('started', 'open', 'processing')",
        unique=True,
    ),
)

table(
    "payment_refunds",
    Column("id", Id, primary_key=True),
    Column("payment_id", Id, ForeignKey("payments.id"), nullable=False),
    Column("amount_cents", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("refund_id", Text, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("amount_cents > 0", name="amount"),
    Index(None, "payment_id"),
    Index(None, "state", "created_at"),
)

table(
    "payment_disputes",
    Column("id", Text, primary_key=True),
    Column("payment_id", Id, ForeignKey("payments.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("amount_cents", Integer, nullable=False),
    Column("evidence_due_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Index(None, "payment_id"),
)

table(
    "stripe_events",
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("intent_id", Text),
    Column("payment_id", Text),
    Column("customer_id", Text),
    Column("created_at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("due_at", Instant),
    Column("attempts", Integer, nullable=False),
    partial_index("ix_stripe_events_due_at", "due_at", where="due_at IS NOT NULL"),
    Index(None, "received_at"),
)

table(
    "stripe_transactions",
    Column("id", Text, primary_key=True),
    Column("payment_id", Id, ForeignKey("payments.id"), nullable=False),
    Column("type", Text, nullable=False),
    Column("gross_cents", Integer, nullable=False),
    Column("fee_cents", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "payment_id"),
)

table(
    "stripe_cursors",
    Column("name", Text, primary_key=True),
    Column("read_until", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
)

table(
    "book_entries",
    Column("id", Count, primary_key=True, autoincrement=True),
    Column("payment_id", Id, ForeignKey("payments.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("ref", Text, nullable=False),
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
)

table(
    "auto_top_ups",
    Column("organization_id", Id, ForeignKey("organizations.id"), primary_key=True),
    Column("enabled", Flag, nullable=False),
    *nanos("threshold_nanos"),
    Column("amount_cents", Integer, nullable=False),
    Column("month_cents_max", Integer, nullable=False),
    Column("paused", Text, nullable=False),
    Column("declines", Integer, nullable=False),
    Column("declined_card", Text, nullable=False),
    Column("not_before", Instant),
    Column("changed_by", Id, ForeignKey("users.id")),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("amount_cents > 0 AND month_cents_max >= amount_cents", name="amounts"),
    CheckConstraint("paused IN ('', 'authentication', 'declined')", name="paused"),
)
