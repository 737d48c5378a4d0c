"""Latency by key and model, for a few days by the hour, and by the day.

What the columns mean: gateway/storage/tables/status.py. Sums of before are not divided.
"""

from alembic import op
from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, Table, Text

from migrations.types import NAMES, Count, Day, Id, Instant, required

revision = "0036_latency_by_key"
down_revision = "0035_incident_updates"
branch_labels = None
depends_on = None
runs_from = "0029_schema_range"

_schema = MetaData(naming_convention=NAMES)
_made = [
    Table(
        f"latency_{time}s",
        _schema,
        Column("organization_id", Id, primary_key=True),
        Column(time, kind, primary_key=True),
        Column("key_id", Id, primary_key=True),
        Column("model_id", Text, primary_key=True),
        Column("latency_ms", Integer, primary_key=True),
        *required(Count, "answers"),
        CheckConstraint("answers > 0", name="answers"),
        Index(None, time),
        sqlite_strict=True,
    )
    for time, kind in (("hour", Instant), ("day", Day))
]


def upgrade() -> None:
    _schema.create_all(op.get_bind(), _made, checkfirst=False)


def downgrade() -> None:
    _schema.drop_all(op.get_bind(), _made, checkfirst=False)
