"""Audits of the trail and of the books in one table.

What the columns mean: gateway/storage/tables/trail.py. The audits that were noted go: the first one
after this begins anew.
"""

from alembic import op
from sqlalchemy import Column, MetaData, Table, Text

from migrations.types import NAMES, Count, Instant, required

revision = "0013_one_audit"
down_revision = "0012_receipts"
branch_labels = None
depends_on = None

_AUDITS = Table(
    "audits",
    MetaData(naming_convention=NAMES),
    Column("name", Text, primary_key=True),
    *required(Instant, "ran_at", "due_at"),
    Column("broken", Text, nullable=False),
    Column("broken_since", Instant),
    Column("position", Count, nullable=False),
    sqlite_strict=True,
)


def upgrade() -> None:
    op.execute("DELETE FROM audit_runs")
    op.drop_table("audits")
    with op.batch_alter_table("audit_runs") as audit_runs:
        audit_runs.add_column(Column("name", Text, nullable=False))
        audit_runs.add_column(Column("due_at", Instant, nullable=False))
        audit_runs.add_column(Column("broken_since", Instant))
        audit_runs.add_column(Column("position", Count, nullable=False))
        audit_runs.alter_column("balances", existing_type=Text, nullable=True)
    op.create_index("ix_audit_runs_name_id", "audit_runs", ["name", "id"])


def downgrade() -> None:
    op.execute("DELETE FROM audit_runs")
    op.drop_index("ix_audit_runs_name_id", "audit_runs")
    with op.batch_alter_table("audit_runs") as audit_runs:
        for name in ("name", "due_at", "broken_since", "position"):
            audit_runs.drop_column(name)
        audit_runs.alter_column("balances", existing_type=Text, nullable=False)
    _AUDITS.create(op.get_bind())
