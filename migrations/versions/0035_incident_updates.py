"""What operators say of incidents in public.

What the columns mean: gateway/storage/tables/status.py.
"""

from alembic import op
from sqlalchemy import Column, ForeignKey, Index, MetaData, Table, Text

from migrations.types import NAMES, Id, Instant, required

revision = "0035_incident_updates"
down_revision = "0034_refused_prints"
branch_labels = None
depends_on = None
runs_from = "0029_schema_range"

_schema = MetaData(naming_convention=NAMES)
_incidents = Table("incidents", _schema, Column("id", Id, primary_key=True))
_updates = Table(
    "incident_updates",
    _schema,
    Column("id", Id, primary_key=True),
    Column("incident_id", Id, ForeignKey(_incidents.c.id), nullable=False),
    *required(Instant, "posted_at"),
    *required(Text, "title"),
    *required(Text, "words"),
    Index(None, "incident_id"),
    sqlite_strict=True,
)


def upgrade() -> None:
    _updates.create(op.get_bind())


def downgrade() -> None:
    _updates.drop(op.get_bind())
