"""What operators have put off, the filters that they keep, and what their pages look up.

What the tables and columns mean: gateway/storage/tables/attention.py.
"""

from alembic import op
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

from migrations.types import NAMES, Id, Instant, required

revision = "0009_attention"
down_revision = "0011_service"
branch_labels = None
depends_on = None

_schema = MetaData(naming_convention=NAMES)
_made: list[Table] = []
_FAILING = "ix_webhook_endpoints_failing_since"
_IS_FAILING = text("failing_since IS NOT NULL")


def upgrade() -> None:
    _schema.create_all(op.get_bind(), _made, checkfirst=False)
    op.create_index(
        "ix_organizations_name",
        "organizations",
        ["name"],
        postgresql_ops={"name": "text_pattern_ops"},
    )
    op.create_index("ix_api_keys_last_four", "api_keys", ["last_four"])
    op.create_index("ix_payments_charge_id", "payments", ["charge_id"])
    op.create_index(
        _FAILING,
        "webhook_endpoints",
        ["failing_since"],
        postgresql_where=_IS_FAILING,
        sqlite_where=_IS_FAILING,
    )


def downgrade() -> None:
    op.drop_index(_FAILING, "webhook_endpoints")
    op.drop_index("ix_payments_charge_id", "payments")
    op.drop_index("ix_api_keys_last_four", "api_keys")
    op.drop_index("ix_organizations_name", "organizations")
    _schema.drop_all(op.get_bind(), _made, checkfirst=False)


def table(name: str, *parts: SchemaItem) -> None:
    _made.append(Table(name, _schema, *parts, sqlite_strict=True))


# what the new tables name: made by an earlier revision
Table("users", _schema, Column("id", Id, primary_key=True))

table(
    "snoozes",
    Column("key", Text, primary_key=True),
    *required(Text, "severity", "reason"),
    Column("user_id", Id, ForeignKey("users.id")),
    *required(Instant, "created_at", "until"),
    CheckConstraint("severity IN ('critical', 'warning', 'notice')", name="severity"),
)

table(
    "saved_filters",
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    *required(Text, "path", "name", "query"),
    *required(Instant, "created_at"),
    CheckConstraint("length(name) BETWEEN 1 AND 60", name="name"),
    CheckConstraint("length(query) <= 500", name="query"),
    UniqueConstraint("user_id", "path", "name"),
)
