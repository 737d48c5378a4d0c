"""The database refuses to rewrite the audit trail, and knows when it was last checked.

What the tables and columns mean: gateway/storage/tables/trail.py. Processes of the version before
go on recording: the newest entry is noted by a trigger.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from alembic import op
from sqlalchemy import Column, LargeBinary, MetaData, Table, Text

from migrations.types import NAMES, Count, Instant, required

revision = "0007_trail_guard"
down_revision = "0005_operators"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parents[1] / "sql"
_SCHEMA = MetaData(naming_convention=NAMES)
_INDEXES = {
    "ix_trail_entries_action_number": ["action", "number"],
    "ix_trail_entries_at": ["created_at"],
}
_NONE = {"postgresql": f"'\\x{'00' * 32}'::bytea", "sqlite": f"x'{'00' * 32}'"}
"""The hash before the first entry."""


def upgrade() -> None:
    connection = op.get_bind()
    dialect = connection.dialect.name
    if dialect == "postgresql":  # nothing is recorded between the triggers and the newest entry
        op.execute("LOCK TABLE trail_entries IN SHARE ROW EXCLUSIVE MODE")
    _SCHEMA.create_all(connection, checkfirst=False)
    for name, columns in _INDEXES.items():
        op.create_index(name, "trail_entries", columns)
    op.execute(
        "INSERT INTO trail_heads (number, hash) SELECT * FROM (SELECT number, hash "
        f"FROM trail_entries UNION ALL SELECT 0, {_NONE[dialect]}) known "
        "ORDER BY number DESC LIMIT 1"
    )
    for statement in _statements(dialect):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _statements(op.get_bind().dialect.name):
        trigger = re.search(r"CREATE TRIGGER (\w+) .+? ON (\w+)", statement)
        if trigger:
            on = f" ON {trigger[2]}" if is_postgresql else ""
            op.execute(f"DROP TRIGGER {trigger[1]}{on}")
    if is_postgresql:
        op.execute("DROP FUNCTION follow_trail()")
        op.execute("DROP FUNCTION keep_trail_words()")
    for name in _INDEXES:
        op.drop_index(name, "trail_entries")
    _SCHEMA.drop_all(op.get_bind(), checkfirst=False)


def _statements(dialect: str) -> Iterator[str]:
    """Split the file of SQL: a statement ends before an empty line and a line not indented."""
    yield from re.split(r";\n\n(?=\S)", (_SQL / f"0007_trail_{dialect}.sql").read_text())


Table(
    "trail_heads",
    _SCHEMA,
    Column("number", Count, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    sqlite_strict=True,
)

Table(
    "audits",
    _SCHEMA,
    Column("name", Text, primary_key=True),
    *required(Instant, "ran_at", "due_at"),
    Column("broken", Text, nullable=False),
    Column("broken_since", Instant),
    Column("position", Count, nullable=False),
    sqlite_strict=True,
)
