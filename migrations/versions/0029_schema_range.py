"""The database says which versions of the code run on it.

What the columns mean: gateway/storage/tables/schema.py. `migrations/env.py` writes a row for each
revision from this one on.
"""

from alembic import op
from sqlalchemy import Column, MetaData, Table, Text

from migrations.types import NAMES

revision = "0029_schema_range"
down_revision = "0028_secrets"
branch_labels = None
depends_on = None
runs_from = "0029_schema_range"

_ranges = Table(
    "schema_ranges",
    MetaData(naming_convention=NAMES),
    Column("revision", Text, primary_key=True),
    Column("runs_from", Text, nullable=False),
    sqlite_strict=True,
)


def upgrade() -> None:
    _ranges.create(op.get_bind())


def downgrade() -> None:
    _ranges.drop(op.get_bind())
