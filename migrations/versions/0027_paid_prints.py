"""Equal requests are free once one was charged, in every process: the prints of what was."""

from pathlib import Path

from alembic import op
from sqlalchemy import Column, Index, MetaData, Table, Text

from migrations.types import NAMES, Flag, Id, Instant, required

revision = "0027_paid_prints"
down_revision = "0026_roles"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parents[1] / "sql"
_prints = Table(
    "paid_prints",
    MetaData(naming_convention=NAMES),
    Column("key_id", Id, primary_key=True),
    Column("print", Text, primary_key=True),
    *required(Id, "request_id"),
    *required(Flag, "is_once"),
    Column("used_by", Id),
    *required(Instant, "expires_at"),
    Index(None, "expires_at"),
    sqlite_strict=True,
)


def upgrade() -> None:
    connection = op.get_bind()
    _prints.create(connection)
    if connection.dialect.name == "postgresql":
        for name in ("ledger_prints", "ledger_fenced", "ledger_tick"):
            _replace(name, "0027_paid_prints.sql")


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        _replace("ledger_tick", "0016_ledger_tick.sql")
        _replace("ledger_fenced", "0001_lease_fencing.sql")
        op.execute("DROP FUNCTION ledger_prints(jsonb, timestamptz)")
    _prints.drop(connection)


def _replace(function: str, name: str) -> None:
    """Replace a function by its text in a file."""
    text = (_SQL / name).read_text()
    start = text.index(f"FUNCTION {function}(")
    body = text[start : text.index("END $$;", start)]
    op.get_bind().exec_driver_sql(f"CREATE OR REPLACE {body}END $$")
