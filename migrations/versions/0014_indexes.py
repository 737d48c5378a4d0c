"""Indexes of large tables, built without a lock on their writers.

PostgreSQL builds them outside of a transaction. So they are a revision of their own, which begins
anew after a failure: an index that was built in vain is left invalid, and goes first.
"""

from alembic import op
from sqlalchemy import text

revision = "0014_indexes"
down_revision = "0013_one_audit"
branch_labels = None
depends_on = None

_DAYS = ("ix_usage_days_model_id_day", "usage_days", ["model_id", "day"])
_RECENT = (
    ("ix_usage_hours_hour", "usage_hours", "hour"),
    ("ix_usage_days_day", "usage_days", "day"),
)
"""BRIN on PostgreSQL. 0011_service made them until it was seen that it stops writers."""
_DOMAINS = (
    ("ix_waitlist_entries_domain", "waitlist_entries", "address_key"),
    ("ix_demand_votes_domain", "demand_votes", "voter_key"),
)
"""Of PostgreSQL alone: SQLite's tables are small, and Alembic can't read such an index there."""


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        op.create_index(*_DAYS, if_not_exists=True)
        for name, of, column in _RECENT:
            op.create_index(name, of, [column], if_not_exists=True)
        return
    found = [_DAYS]
    found += [(name, of, [text(f"split_part({key}, '@', 2)"), "id"]) for name, of, key in _DOMAINS]
    with op.get_context().autocommit_block():
        for name, of, columns in found:
            op.drop_index(name, of, postgresql_concurrently=True, if_exists=True)
            op.create_index(name, of, columns, postgresql_concurrently=True)
        for name, of, column in _RECENT:
            op.drop_index(name, of, postgresql_concurrently=True, if_exists=True)
            op.create_index(
                name,
                of,
                [column],
                postgresql_concurrently=True,
                postgresql_using="brin",
                postgresql_with={"autosummarize": "on"},
            )


def downgrade() -> None:
    op.drop_index(_DAYS[0], "usage_days")
    for name, of, _ in _RECENT:
        op.drop_index(name, of)
    if op.get_bind().dialect.name == "postgresql":
        for name, of, _ in _DOMAINS:
            op.drop_index(name, of)
