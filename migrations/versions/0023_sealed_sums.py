"""Sums that the audit starts from, lots that count what was taken of them, and rows of usage that
are numbered as they come; partitions are made and dropped by functions.

What the tables and columns mean: gateway/storage/tables/{audits,billing}.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from alembic import op
from sqlalchemy import Column, MetaData, Table, Text, text

from migrations.types import NAMES, NANOS_MAX, Count

revision = "0023_sealed_sums"
down_revision = "0022_floods"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parents[1] / "sql"
_SUMS = Table(
    "audit_sums",
    MetaData(naming_convention=NAMES),
    Column("part", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("amount", Count, nullable=False),
    sqlite_strict=True,
)
_CHECKS = {
    "remaining": "remaining_nanos <= amount_nanos",
    "burned": "remaining_nanos + burned_nanos = amount_nanos",
    "burned_nanos": f"burned_nanos BETWEEN 0 AND {NANOS_MAX}",
}
_STRICT = {"sqlite_strict": True}
_REPLACED = {"0001_lease_fencing.sql": "ledger_burn", "0002_freezes.sql": "ledger_return"}
_FUNCTIONS = (
    "ledger_summarize()",
    "ledger_retire(text, date)",
    "ledger_open_sums(text, uuid)",
    "ledger_partition(text, date)",
    "ledger_key_of(text)",
    "ledger_lock_alone(text)",
    "ledger_first_id(timestamptz)",
)


def upgrade() -> None:
    connection = op.get_bind()
    _SUMS.create(connection, checkfirst=False)
    # processes of the last version, which don't name it, add lots of which nothing was taken
    burned = Column("burned_nanos", Count, nullable=False, server_default=text("0"))
    with op.batch_alter_table("credit_lots", table_kwargs=_STRICT) as lots:
        lots.drop_constraint(op.f("ck_credit_lots_remaining"), type_="check")
        lots.add_column(burned)
    op.execute("UPDATE credit_lots SET burned_nanos = amount_nanos - remaining_nanos")
    with op.batch_alter_table("credit_lots", table_kwargs=_STRICT) as lots:
        for name in ("burned", "burned_nanos"):
            lots.create_check_constraint(op.f(f"ck_credit_lots_{name}"), text(_CHECKS[name]))
    op.add_column("usage_events", Column("position", Count))
    if connection.dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE usage_events_position")
        op.execute(
            "ALTER TABLE usage_events ALTER COLUMN position "
            "SET DEFAULT nextval('usage_events_position')"
        )
        for statement in _statements("0023_sealed_sums.sql"):
            connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    is_postgresql = connection.dialect.name == "postgresql"
    if is_postgresql:
        for function in _FUNCTIONS:
            op.execute(f"DROP FUNCTION {function}")
        for file, name in _REPLACED.items():
            (old,) = (one for one in _statements(file) if f"FUNCTION {name}(" in one)
            connection.exec_driver_sql(old.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    op.drop_column("usage_events", "position")
    if is_postgresql:
        op.execute("DROP SEQUENCE usage_events_position")
    with op.batch_alter_table("credit_lots", table_kwargs=_STRICT) as lots:
        for name in ("burned", "burned_nanos"):
            lots.drop_constraint(op.f(f"ck_credit_lots_{name}"), type_="check")
        lots.drop_column("burned_nanos")
        lots.create_check_constraint(op.f("ck_credit_lots_remaining"), text(_CHECKS["remaining"]))
    _SUMS.drop(connection)


def _statements(name: str) -> Iterator[str]:
    """Split a file of SQL: a statement ends before an empty line and a line not indented."""
    yield from re.split(r";\n\n(?=\S)", (_SQL / name).read_text())
