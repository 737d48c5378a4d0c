"""Sums by the day of how requests were answered, which triggers keep whoever writes the hours.

What the columns mean: gateway/storage/tables/status.py. The hours of the last months are summed up
in the transaction that makes the triggers. Processes wait meanwhile to write down what they counted
of answers, and nothing else: if that takes too long they keep the counts and try again.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from alembic import op
from sqlalchemy import Column, Index, Integer, MetaData, Table, Text

from migrations.types import NAMES, Count, Day, Id, Small, required

revision = "0037_sums_by_the_day"
down_revision = "0036_latency_by_key"
branch_labels = None
depends_on = None
runs_from = "0029_schema_range"

_SQL = Path(__file__).parents[1] / "sql"
_schema = MetaData(naming_convention=NAMES)
_DAY = {"postgresql": "timezone('UTC', hour)::date", "sqlite": "substr(hour, 1, 10)"}
_SUMMED = {"answer": "status_class, latency_ms", "error": "key_id, model_id, status, code"}


def upgrade() -> None:
    connection = op.get_bind()
    dialect = connection.dialect.name
    _schema.create_all(connection, checkfirst=False)
    for statement in _statements(dialect):
        connection.exec_driver_sql(statement)
    for name, keys in _SUMMED.items():
        op.execute(
            f"INSERT INTO {name}_days (organization_id, day, {keys}, {name}s) "
            f"SELECT organization_id, {_DAY[dialect]} AS day, {keys}, sum({name}s) "
            f"FROM {name}_hours GROUP BY organization_id, day, {keys}"
        )


def downgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _statements(op.get_bind().dialect.name):
        if trigger := re.search(r"CREATE TRIGGER (\w+) .+? ON (\w+)", statement):
            on = f" ON {trigger[2]}" if is_postgresql else ""
            op.execute(f"DROP TRIGGER {trigger[1]}{on}")
    if is_postgresql:
        for name in _SUMMED:
            op.execute(f"DROP FUNCTION sum_{name}_days()")
    _schema.drop_all(op.get_bind(), checkfirst=False)


def _statements(dialect: str) -> Iterator[str]:
    """Split the file of SQL: a statement ends before an empty line and a line not indented."""
    yield from re.split(r";\n\n(?=\S)", (_SQL / f"0037_days_{dialect}.sql").read_text())


Table(
    "answer_days",
    _schema,
    Column("organization_id", Id, primary_key=True),
    Column("day", Day, primary_key=True),
    Column("status_class", Small, primary_key=True),
    Column("latency_ms", Integer, primary_key=True),
    *required(Count, "answers"),
    Index(None, "day"),
    sqlite_strict=True,
)

Table(
    "error_days",
    _schema,
    Column("organization_id", Id, primary_key=True),
    Column("day", Day, primary_key=True),
    Column("key_id", Id, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("status", Small, primary_key=True),
    Column("code", Text, primary_key=True),
    *required(Count, "errors"),
    Index(None, "day"),
    sqlite_strict=True,
)
