"""Errors by the hour, answers by the model, and the latest requests of each organization.

What the tables and columns mean: gateway/storage/tables/status.py. Sums of before are not divided.
"""

from alembic import op
from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, Table, Text
from sqlalchemy.schema import SchemaItem

from migrations.types import NAMES, Count, Id, Instant, Small, required

revision = "0032_request_log"
down_revision = "0031_model_requests"
branch_labels = None
depends_on = None
runs_from = "0029_schema_range"

_schema = MetaData(naming_convention=NAMES)
_made: list[Table] = []


def upgrade() -> None:
    _schema.create_all(op.get_bind(), _made, checkfirst=False)


def downgrade() -> None:
    _schema.drop_all(op.get_bind(), _made, checkfirst=False)


def table(name: str, *parts: SchemaItem) -> None:
    _made.append(Table(name, _schema, *parts, sqlite_strict=True))


table(
    "error_hours",
    Column("organization_id", Id, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("status", Small, primary_key=True),
    Column("code", Text, primary_key=True),
    *required(Count, "errors"),
    CheckConstraint("errors > 0", name="errors"),
    Index(None, "hour"),
)

table(
    "model_answers",
    Column("hour", Instant, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("status_class", Small, primary_key=True),
    Column("latency_ms", Integer, primary_key=True),
    *required(Count, "answers"),
    CheckConstraint("answers > 0", name="answers"),
)

table(
    "request_log",
    Column("organization_id", Id, primary_key=True),
    Column("request_id", Id, primary_key=True),
    *required(Id, "key_id"),
    *required(Text, "model_id"),
    *required(Instant, "created_at"),
    *required(Small, "status"),
    *required(Text, "code"),
    *required(Integer, "latency_ms"),
    Column("tokens", Integer),
    Column("original_id", Id),
    *required(Integer, "missed"),
    Index(None, "created_at"),
)
