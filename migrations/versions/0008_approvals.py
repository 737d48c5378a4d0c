"""Money that operators order and a second one approves, notes, and views as an organization.

What the tables and columns mean: gateway/storage/tables/back_office.py.
"""

from alembic import op
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, MetaData, Table, Text
from sqlalchemy.schema import SchemaItem

from migrations.types import NAMES, Id, Instant, nanos, partial_index, required

revision = "0008_approvals"
down_revision = "0009_attention"
branch_labels = None
depends_on = None

_schema = MetaData(naming_convention=NAMES)
_made: list[Table] = []


def upgrade() -> None:
    _schema.create_all(op.get_bind(), _made, checkfirst=False)


def downgrade() -> None:
    _schema.drop_all(op.get_bind(), _made, checkfirst=False)


def table(name: str, *parts: SchemaItem) -> None:
    _made.append(Table(name, _schema, *parts, sqlite_strict=True))


# what the new tables name: made by an earlier revision
for known in ("organizations", "users", "sessions"):
    Table(known, _schema, Column("id", Id, primary_key=True))

table(
    "money_orders",
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organizations.id"), nullable=False),
    *required(Text, "details"),
    *nanos("amount_nanos", least=1),
    Column("operator_id", Id, ForeignKey("users.id")),
    *required(Text, "reason", "state"),
    *required(Instant, "created_at"),
    Column("due_at", Instant),
    Column("decided_by", Id, ForeignKey("users.id")),
    Column("decided_at", Instant),
    *required(Text, "problem"),
    CheckConstraint("state IN ('waiting', 'done', 'rejected', 'failed')", name="state"),
    Index(None, "operator_id", "created_at"),
    partial_index("ix_money_orders_waiting", "id", where="state = 'waiting'"),
)

table(
    "organization_notes",
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organizations.id"), nullable=False),
    Column("author_id", Id, ForeignKey("users.id")),
    *required(Text, "words"),
    *required(Instant, "created_at"),
    Index(None, "organization_id", "id"),
)

table(
    "operator_views",
    Column("session_id", Id, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("organization_id", Id, ForeignKey("organizations.id"), nullable=False),
    *required(Instant, "ends_at"),
)
