"""The market's back office: votes set aside, standings, paused launches, edits, prices to come.

What the tables and columns mean: gateway/storage/tables/demand.py and catalog.py.
"""

from alembic import op
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, MetaData, Table, Text, text
from sqlalchemy.schema import SchemaItem

from migrations.types import NAMES, Id, Instant, nanos, partial_index, required

revision = "0010_market"
down_revision = "0006_second_factors"
branch_labels = None
depends_on = None

_schema = MetaData(naming_convention=NAMES)
_made: list[Table] = []


def upgrade() -> None:
    _schema.create_all(op.get_bind(), _made, checkfirst=False)
    op.add_column("launches", Column("paused_at", Instant))
    op.add_column("models", Column("card_edits", Text))
    op.add_column("models", Column("page_edits", Text))
    launch = {"postgresql_where": _LAUNCH, "sqlite_where": _LAUNCH}
    op.create_index("ix_outbox_launches", "outbox", ["ref"], **launch)


def downgrade() -> None:
    op.drop_index("ix_outbox_launches", "outbox")
    op.drop_column("models", "page_edits")
    op.drop_column("models", "card_edits")
    op.drop_column("launches", "paused_at")
    _schema.drop_all(op.get_bind(), _made, checkfirst=False)


_LAUNCH = text("kind = 'launch'")


def table(name: str, *parts: SchemaItem) -> None:
    _made.append(Table(name, _schema, *parts, sqlite_strict=True))


# what the new tables name: made by an earlier revision
Table("models", _schema, Column("id", Text, primary_key=True))
Table("model_prices", _schema, Column("id", Id, primary_key=True))

table(
    "set_aside_votes",
    Column("model_id", Text, ForeignKey("models.id"), primary_key=True),
    Column("voter_key", Text, primary_key=True),
    *required(Text, "reason"),
    *required(Instant, "created_at"),
    Index(None, "voter_key"),
)

table(
    "demand_standings",
    Column("model_id", Text, ForeignKey("models.id"), primary_key=True),
    *required(Text, "standing"),
    *required(Instant, "computed_at"),
)

table(
    "price_changes",
    Column("id", Id, primary_key=True),
    Column("model_id", Text, ForeignKey("models.id"), nullable=False),
    *required(Text, "tier"),
    *nanos("nanos_per_million_tokens"),
    *required(Instant, "effective_at", "created_at"),
    Column("price_id", Id, ForeignKey("model_prices.id")),
    Column("canceled_at", Instant),
    CheckConstraint("tier IN ('default', 'flex')", name="tier"),
    Index(None, "model_id"),
    partial_index(
        "ix_price_changes_waiting",
        "effective_at",
        where="price_id IS NULL AND canceled_at IS NULL",
    ),
)
