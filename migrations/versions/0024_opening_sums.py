"""Rows of usage are found by the order in which they came; what is gone already is summed up.

PostgreSQL builds the index partition by partition, without a lock on their writers and outside of a
transaction, so this is a revision of its own, which begins anew after a failure. What was dropped
before it can't be read any more, so the opening sums take the word of leases, budgets and days for
it.
"""

from alembic import op
from sqlalchemy import text

revision = "0024_opening_sums"
down_revision = "0023_sealed_sums"
branch_labels = None
depends_on = None

_INDEX = "ix_usage_events_position"
_USED = """
    SELECT lease_id AS lease, NULL AS budget, charged_nanos AS nanos FROM usage_events
    UNION ALL SELECT budget_lease_id, budget_id, charged_nanos FROM usage_events
    WHERE budget_id IS NOT NULL"""
_LEASES = f"""
INSERT INTO audit_sums (part, kind, id, amount)
SELECT 'opening', 'lease', CAST(leases.id AS text), leases.spent_nanos - coalesce(u.nanos, 0)
FROM leases LEFT JOIN (SELECT lease, sum(nanos) AS nanos FROM ({_USED}) used GROUP BY lease) u
    ON u.lease = leases.id
WHERE leases.spent_nanos <> coalesce(u.nanos, 0)"""
_BUDGETS = f"""
INSERT INTO audit_sums (part, kind, id, amount)
SELECT 'opening', 'budget', CAST(a.id AS text),
    a.spent_nanos + coalesce(l.nanos, 0) - coalesce(u.nanos, 0)
FROM accounts a LEFT JOIN (
    SELECT budget, sum(nanos) AS nanos FROM ({_USED}) used GROUP BY budget) u ON u.budget = a.id
LEFT JOIN (SELECT account_id, sum(spent_nanos - posted_nanos) AS nanos FROM leases
    WHERE state = 'open' GROUP BY account_id) l ON l.account_id = a.id
WHERE a.key_id IS NOT NULL
    AND a.spent_nanos + coalesce(l.nanos, 0) <> coalesce(u.nanos, 0)"""
_DAYS = """
INSERT INTO audit_sums (part, kind, id, amount)
SELECT 'opening', '{kind}', CAST(day AS text), sum({column}) FROM usage_days
WHERE day < coalesce((SELECT min({created}) FROM usage_events), '9999-12-31')
GROUP BY day"""
_KINDS = {
    "requests": "requests",
    "inputs": "inputs",
    "tokens": "tokens",
    "charged": "charged_nanos",
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _index()
    op.execute("DELETE FROM audit_sums")
    op.execute(_LEASES)
    op.execute(_BUDGETS)
    for kind, column in _KINDS.items():
        op.execute(_DAYS.format(kind=kind, column=column, created=_created()))


def downgrade() -> None:
    op.execute("DELETE FROM audit_sums")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"DROP INDEX {_INDEX}")


def _created() -> str:
    if op.get_bind().dialect.name == "postgresql":
        return "CAST(created_at AT TIME ZONE 'UTC' AS date)"
    return "substr(created_at, 1, 10)"


def _index() -> None:
    partitions = text(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = 'usage_events'::regclass"
    )
    using = "USING brin (position) WITH (pages_per_range = 32, autosummarize = on)"
    names = list(op.get_bind().scalars(partitions))
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for whoever writes, and nobody for it
        for name in names:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}_position")
            op.execute(f"CREATE INDEX CONCURRENTLY {name}_position ON {name} {using}")
        op.execute("SET lock_timeout = '2s'")
    op.execute(f"CREATE INDEX {_INDEX} ON usage_events {using}")  # takes those of the partitions
