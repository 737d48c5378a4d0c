"""Sums of a lifetime may have all of 64 bits.

No organization may reach a bound at which what it uses can't be posted any more: at
$9,007,199 of spending, that was.
"""

from alembic import op

revision = "0021_sums"
down_revision = "0020_invitation_makers"
branch_labels = None
depends_on = None

_SUMS = {
    "accounts": ("available_nanos", "leased_nanos", "owed_nanos", "spent_nanos"),
    "leases": ("granted_nanos", "spent_nanos", "posted_nanos"),
}
_NARROW = "{} BETWEEN 0 AND 9007199254740991"
_WIDE = "{} >= 0"
_LOCK_SECONDS = 2
"""How long ticks may have to wait behind the change, while it waits for somebody else."""


def upgrade() -> None:
    _replace(_NARROW, _WIDE)


def downgrade() -> None:
    _replace(_WIDE, _NARROW)


def _replace(old: str, new: str) -> None:
    if op.get_bind().dialect.name == "postgresql":  # in the order in which ticks lock rows
        op.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
        op.execute("LOCK TABLE leases, accounts IN ACCESS EXCLUSIVE MODE")
    for table, columns in _SUMS.items():
        if op.get_bind().dialect.name == "postgresql":
            _replace_checks(table, columns, new)
        else:
            _edit_schema(table, columns, old, new)
    if op.get_bind().dialect.name == "postgresql":
        with op.get_context().autocommit_block():  # ticks go on while rows are looked through
            for table, columns in _SUMS.items():
                for column in columns:
                    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{table}_{column}")


def _replace_checks(table: str, columns: tuple[str, ...], check: str) -> None:
    """Replace the checks of a table, which is not read through while it is locked."""
    for column in columns:
        name = f"ck_{table}_{column}"
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT {name}, "
            f"ADD CONSTRAINT {name} CHECK ({check.format(column)}) NOT VALID"
        )


def _edit_schema(table: str, columns: tuple[str, ...], old: str, new: str) -> None:
    """Edit the words of a table, as SQLite's documentation has it for checks.

    A new table in its place is no way: that would drop what refers to this one.
    """
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for column in columns:
        connection.exec_driver_sql(
            "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = ?",
            (f"({old.format(column)})", f"({new.format(column)})", table),
        )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
