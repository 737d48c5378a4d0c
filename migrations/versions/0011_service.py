"""Audits, quarantines and traffic that are kept, and what the pages of mails and events look up.

What the tables and columns mean: gateway/storage/tables/{billing,mail,payments,status,workers}.py.
"""

from alembic import op
from sqlalchemy import Column, Index, Integer, MetaData, Table, Text, text
from sqlalchemy.schema import SchemaItem

from migrations.types import NAMES, Count, Day, Id, Instant, Small, nanos, required

revision = "0011_service"
down_revision = "0010_market"
branch_labels = None
depends_on = None

_schema = MetaData(naming_convention=NAMES)
_made: list[Table] = []
_INDEXES = (
    ("outbox", "state", "id"),
    ("outbox", "recipient", "id"),
    ("stripe_events", "object_id"),
    ("stripe_events", "intent_id"),
)
_PROBLEM = text("problem <> ''")


def upgrade() -> None:
    _schema.create_all(op.get_bind(), _made, checkfirst=False)
    op.add_column("stripe_events", Column("problem", Text, nullable=False, server_default=""))
    op.create_index(
        "ix_stripe_events_problem",
        "stripe_events",
        ["received_at"],
        postgresql_where=_PROBLEM,
        sqlite_where=_PROBLEM,
    )
    for name, *columns in _INDEXES:
        op.create_index(f"ix_{name}_{'_'.join(columns)}", name, columns)


def downgrade() -> None:
    for name, *columns in _INDEXES:
        op.drop_index(f"ix_{name}_{'_'.join(columns)}", name)
    op.drop_index("ix_stripe_events_problem", "stripe_events")
    op.drop_column("stripe_events", "problem")
    _schema.drop_all(op.get_bind(), _made, checkfirst=False)


def table(name: str, *parts: SchemaItem) -> None:
    _made.append(Table(name, _schema, *parts, sqlite_strict=True))


table(
    "audit_runs",
    Column("id", Id, primary_key=True),
    *required(Instant, "began_at", "ended_at"),
    *required(Text, "breaches", "balances"),
    Index(None, "began_at"),
)

table(
    "pool_reports",
    Column("gateway_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    *required(Count, "waiting_tokens", "backlog_ms"),
    *required(Instant, "seen_at"),
)

table(
    "worker_quarantines",
    Column("id", Id, primary_key=True),
    *required(Id, "gateway_id"),
    *required(Text, "model_id", "url"),
    *required(Instant, "began_at", "last_at"),
    *required(Integer, "times"),
    *required(Text, "reason", "evidence"),
    Column("ended_at", Instant),
    Index(None, "began_at"),
)

table(
    "traffic_hours",
    Column("hour", Instant, primary_key=True),
    Column("model_id", Text, primary_key=True),
    *required(Count, "requests", "inputs", "tokens"),
    *nanos("charged_nanos"),
)

table(
    "traffic_answers",
    Column("hour", Instant, primary_key=True),
    Column("status_class", Small, primary_key=True),
    Column("latency_ms", Integer, primary_key=True),
    *required(Count, "answers"),
)

table(
    "traffic_leaders",
    Column("day", Day, primary_key=True),
    Column("place", Small, primary_key=True),
    *required(Id, "organization_id"),
    *required(Count, "requests", "tokens"),
    *nanos("charged_nanos"),
)
