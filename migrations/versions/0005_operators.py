"""Operators, and the audit trail of what they and others do.

What the tables and columns mean: gateway/storage/tables/operators.py and trail.py.
"""

from alembic import op
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.schema import SchemaItem

from migrations.types import NAMES, Count, Id, Instant, required

revision = "0005_operators"
down_revision = "0004_alerts"
branch_labels = None
depends_on = None

_schema = MetaData(naming_convention=NAMES)
_made: list[Table] = []


def upgrade() -> None:
    _schema.create_all(op.get_bind(), _made, checkfirst=False)
    op.add_column("sessions", Column("verified_at", Instant))


def downgrade() -> None:
    op.drop_column("sessions", "verified_at")
    _schema.drop_all(op.get_bind(), _made, checkfirst=False)


def table(name: str, *parts: SchemaItem) -> None:
    _made.append(Table(name, _schema, *parts, sqlite_strict=True))


# what the new tables name: made by an earlier revision
for known in ("organizations", "users"):
    Table(known, _schema, Column("id", Id, primary_key=True))

table(
    "operators",
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True),
    *required(Text, "role"),
    *required(Instant, "created_at"),
    CheckConstraint("role IN ('read', 'support', 'finance', 'operator', 'owner')", name="role"),
)

table(
    "trail_entries",
    Column("number", Count, primary_key=True, autoincrement=False),
    *required(Instant, "created_at"),
    *required(Text, "actor_kind"),
    Column("actor_id", Id),
    Column("organization_id", Id, ForeignKey("organizations.id")),
    *required(Text, "action", "subject", "before", "after", "reason", "origin"),
    *required(LargeBinary, "hash"),
    CheckConstraint("actor_kind IN ('operator', 'member', 'command', 'system')", name="actor_kind"),
    Index(None, "organization_id", "number"),
    Index(None, "actor_id", "number"),
    Index(None, "subject", "number"),
)

table(
    "trail_words",
    Column("digest", Text, primary_key=True),
    *required(LargeBinary, "salt"),
    *required(Text, "words"),
    Column("user_id", Id),
    Index(None, "user_id"),
)
