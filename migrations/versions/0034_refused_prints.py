"""The print of a refused request goes with it, and each print knows who was free for it."""

from pathlib import Path

from alembic import op

revision = "0034_refused_prints"
down_revision = "0033_sign_in_codes"
branch_labels = None
depends_on = None
runs_from = "0029_schema_range"

_SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    _replace("0034_refused_prints.sql")


def downgrade() -> None:
    # before, one with an Idempotency-Key that was used made room for the next
    op.execute("UPDATE paid_prints SET used_by = NULL WHERE NOT is_once")
    _replace("0027_paid_prints.sql")


def _replace(name: str) -> None:
    """Replace both functions by their text in a file."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    text = (_SQL / name).read_text()
    for function in ("ledger_prints", "ledger_fenced"):
        start = text.index(f"FUNCTION {function}(")
        body = text[start : text.index("END $$;", start)]
        connection.exec_driver_sql(f"CREATE OR REPLACE {body}END $$")
