"""History can't be emptied either, and the service can run as a role that owns nothing.

Partitions are made and dropped as the schema's owner, whoever calls the functions for that; who may
call them, `gateway migrate` says. The platform's own entries and the keys that signed receipts are
append-only too.
"""

from collections.abc import Iterator
from pathlib import Path

from alembic import op

revision = "0026_roles"
down_revision = "0025_key_scopes"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parents[1] / "sql"
_BY_THE_DAY = ("usage_events", "receipt_roots")
_NEWLY_GUARDED = ("book_entries", "receipt_keys")
_FUNCTIONS = ("ledger_partition(text, date)", "ledger_retire(text, date)", "ledger_summarize()")


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for table in _NEWLY_GUARDED:
            for verb in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
        return
    for table in _NEWLY_GUARDED:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
    for table in (*_NEWLY_GUARDED, *_by_the_day()):
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    connection.exec_driver_sql((_SQL / "0026_partitions.sql").read_text())
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    for function in _FUNCTIONS:
        op.execute(
            f"ALTER FUNCTION {function} SECURITY DEFINER SET search_path = {schema}, pg_temp"
        )
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for table in _NEWLY_GUARDED:
            for verb in ("update", "delete"):
                op.execute(f"DROP TRIGGER {table}_no_{verb}")
        return
    for function in _FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} SECURITY INVOKER RESET search_path")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC")
    text = (_SQL / "0023_sealed_sums.sql").read_text()
    (old,) = (one for one in text.split(";\n\n") if "FUNCTION ledger_partition(" in one)
    old = old[old.index("CREATE FUNCTION") :].replace(
        "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
    )
    connection.exec_driver_sql(old)
    for table in (*_NEWLY_GUARDED, *_by_the_day()):
        op.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
    for table in _NEWLY_GUARDED:
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")


def _by_the_day() -> Iterator[str]:
    """Yield the tables of days, and their partitions: a trigger for TRUNCATE is not inherited."""
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{}'::regclass"
    for table in _BY_THE_DAY:
        yield table
        yield from op.get_bind().exec_driver_sql(query.format(table)).scalars().all()
