"""A tick on PostgreSQL opens the partitions that it writes to, not all of them."""

from pathlib import Path

from alembic import op

revision = "0016_ledger_tick"
down_revision = "0015_price_mails"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    _replace("0016_ledger_tick.sql")


def downgrade() -> None:
    _replace("0002_freezes.sql")


def _replace(name: str) -> None:
    """Replace the function by its text in a file, where it comes last."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        text = (_SQL / name).read_text()
        connection.exec_driver_sql(text[text.index("CREATE OR REPLACE FUNCTION ledger_tick(") :])
