"""Models that people and programs ask for, and that the catalog does not have.

What the columns mean: gateway/storage/tables/demand.py.
"""

from alembic import op
from sqlalchemy import CheckConstraint, Column, MetaData, Table, Text

from migrations.types import NAMES, Count, Instant, required

revision = "0031_model_requests"
down_revision = "0030_rotators"
branch_labels = None
depends_on = None
runs_from = "0029_schema_range"

_requests = Table(
    "model_requests",
    MetaData(naming_convention=NAMES),
    Column("key", Text, primary_key=True),
    *required(Text, "name"),
    *required(Count, "forms", "searches", "pages", "calls"),
    *required(Instant, "first_at", "last_at"),
    CheckConstraint("length(name) <= 100", name="name"),
    sqlite_strict=True,
)


def upgrade() -> None:
    _requests.create(op.get_bind())


def downgrade() -> None:
    _requests.drop(op.get_bind())
