"""Accounts are frozen by causes, debts are paid first, and the books have more accounts.

`accounts.frozen` says nothing any more: that an account owes follows from `owed_nanos`, and what
was frozen without owing becomes an operator's freeze. Where something was owed and available at
once, it is paid. Bought credit that an operator granted never passed through Stripe: its
counterpart is `manual_adjustments`.

Processes of 0.1 may run on while this is applied, so `frozen` stays for them, and so do the shapes
of the functions. Tables are locked in the order in which the ledger locks rows, for as long as
writing the changed rows takes. That the ledger's older entries keep the new rules is checked in the
next revision, in a transaction that lets others write.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from alembic import op
from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from migrations.types import NAMES, NANOS_MAX, Count, Flag, Id, Instant, nanos, required

revision = "0002_freezes_and_books"
down_revision = "0001_first_schema"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parents[1] / "sql"
_KINDS = ("grant", "usage", "expiry", "reversal")
_COUNTERPARTS = ("revenue", "promo_expense", "breakage")
_BEFORE = (_KINDS, (*_COUNTERPARTS, "stripe_clearing"))
_AFTER = (
    (*_KINDS, "topup", "takeback"),
    (*_COUNTERPARTS, "receivable", "manual_adjustments"),
)
_ENTRIES = "id, organization_id, kind, ref, amount_nanos, counterpart, created_at"
_LOCK_SECONDS = 2
"""How long a lock is waited for, and ticks wait behind it; then others go on for a while."""
_SHORTER_KIND = "CASE kind WHEN 'topup' THEN 'grant' WHEN 'takeback' THEN 'reversal' ELSE kind END"


def upgrade() -> None:
    connection = op.get_bind()
    _lock_tables(connection)
    freezes = _freezes()
    freezes.create(connection, checkfirst=False)
    op.execute(
        "INSERT INTO freezes (account_id, cause, ref, reason, created_at) "
        f"SELECT id, 'operator', '', 'frozen before causes were kept', {_now(connection)} "
        "FROM accounts WHERE CAST(frozen AS integer) = 1 AND owed_nanos = 0 AND key_id IS NULL"
    )
    _pay_debts(connection)
    _keep_frozen(connection)
    op.execute("CREATE INDEX ix_accounts_owing ON accounts (id) WHERE owed_nanos > 0")
    counterpart = (
        "CASE counterpart WHEN 'stripe_clearing' THEN 'manual_adjustments' ELSE counterpart END"
    )
    # of the index of kind and ref: usage, which is nearly all of it, never had that counterpart
    changed = "kind IN ('grant', 'reversal') AND counterpart = 'stripe_clearing'"
    _change_entries(connection, _AFTER, "kind", counterpart, changed, with_reason=True)
    if connection.dialect.name == "postgresql":
        for statement in _statements("0002_freezes.sql"):
            connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    _lock_tables(connection)
    is_postgresql = connection.dialect.name == "postgresql"
    if is_postgresql:
        op.execute("DROP FUNCTION ledger_frozen(accounts)")
        op.execute("DROP FUNCTION ledger_return(uuid, bigint)")
    counterpart = (
        "CASE WHEN counterpart IN ('receivable', 'manual_adjustments') THEN 'stripe_clearing' "
        "ELSE counterpart END"
    )
    changed = f"kind <> {_SHORTER_KIND} OR counterpart <> {counterpart}"
    _change_entries(connection, _BEFORE, _SHORTER_KIND, counterpart, changed, with_reason=False)
    op.execute("DROP INDEX ix_accounts_owing")
    op.execute(
        "UPDATE accounts SET frozen = (owed_nanos > 0 OR id IN (SELECT account_id FROM freezes))"
    )
    op.drop_table("freezes")
    if is_postgresql:
        op.execute("ALTER TABLE accounts ALTER COLUMN frozen DROP DEFAULT")
        for statement in _statements("0001_lease_fencing.sql"):
            if re.search(r"FUNCTION ledger_(keep|lease|tick)\(", statement):
                connection.exec_driver_sql(
                    statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
                )


def _freezes() -> Table:
    schema = MetaData(naming_convention=NAMES)
    Table("accounts", schema, Column("id", Id, primary_key=True))
    return Table(
        "freezes",
        schema,
        Column("account_id", Id, ForeignKey("accounts.id"), primary_key=True),
        Column("cause", Text, primary_key=True),
        Column("ref", Text, primary_key=True),
        *required(Text, "reason"),
        *required(Instant, "created_at"),
        CheckConstraint("cause IN ('dispute', 'operator', 'books')", name="cause"),
        sqlite_strict=True,
    )


def _lock_tables(connection: Connection) -> None:
    """Lock what is changed in the ledger's own order, so that no tick is met halfway."""
    if connection.dialect.name == "postgresql":
        op.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
        op.execute(
            "LOCK TABLE leases, accounts, credit_lots, ledger_entries IN ACCESS EXCLUSIVE MODE"
        )


def _keep_frozen(connection: Connection) -> None:
    """Give the column a default: this version does not write it."""
    if connection.dialect.name == "postgresql":
        op.execute("ALTER TABLE accounts ALTER COLUMN frozen SET DEFAULT false")
        return
    # SQLite can only add a column that has one
    op.execute("ALTER TABLE accounts DROP COLUMN frozen")
    op.add_column("accounts", Column("frozen", Flag, nullable=False, server_default=text("0")))


def _pay_debts(connection: Connection) -> None:
    """Pay what accounts owe from what is available, as credit that comes back does from now on."""
    debtors = connection.execute(
        text(
            "SELECT id, key_id, available_nanos, owed_nanos FROM accounts "
            "WHERE owed_nanos > 0 AND available_nanos > 0"
        )
    )
    for debtor in debtors.all():
        paid = min(debtor.available_nanos, debtor.owed_nanos)
        connection.execute(
            text(
                "UPDATE accounts SET available_nanos = available_nanos - :paid, "
                "owed_nanos = owed_nanos - :paid WHERE id = :id"
            ),
            {"paid": paid, "id": debtor.id},
        )
        if debtor.key_id is not None:
            continue
        lots = connection.execute(
            text(
                "SELECT id, remaining_nanos FROM credit_lots "
                "WHERE organization_id = :id AND remaining_nanos > 0 "
                "ORDER BY kind = 'promo', id DESC"
            ),
            {"id": debtor.id},
        )
        for lot in lots.all():
            part = min(lot.remaining_nanos, paid)
            paid -= part
            connection.execute(
                text("UPDATE credit_lots SET remaining_nanos = :left WHERE id = :id"),
                {"left": lot.remaining_nanos - part, "id": lot.id},
            )


def _change_entries(
    connection: Connection,
    allowed: tuple[Sequence[str], Sequence[str]],
    kind: str,
    counterpart: str,
    changed: str,
    *,
    with_reason: bool,
) -> None:
    """Change what the ledger's entries may be, and the entries: their triggers stand aside.

    Entries that are here already are checked later: that reads all of them.
    """
    if connection.dialect.name == "postgresql":
        checks = zip(("kind", "counterpart"), allowed, strict=True)
        op.execute("ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_append_only")
        for name in ("kind", "counterpart"):
            op.execute(f"ALTER TABLE ledger_entries DROP CONSTRAINT ck_ledger_entries_{name}")
        op.execute(
            f"UPDATE ledger_entries SET kind = {kind}, counterpart = {counterpart} WHERE {changed}"
        )
        for name, values in checks:
            op.execute(
                f"ALTER TABLE ledger_entries ADD CONSTRAINT ck_ledger_entries_{name} "
                f"CHECK ({_one_of(name, values)}) NOT VALID"
            )
        change = "ADD COLUMN reason text" if with_reason else "DROP COLUMN reason"
        op.execute(f"ALTER TABLE ledger_entries {change}")
        op.execute("ALTER TABLE ledger_entries ENABLE TRIGGER ledger_entries_append_only")
        return
    # SQLite changes no CHECK, so the table is made anew, with its index and its triggers
    op.execute("DROP INDEX ix_ledger_entries_organization_id_id")
    op.execute("ALTER TABLE ledger_entries RENAME TO ledger_entries_before")
    _entries(*allowed, with_reason=with_reason).create(connection, checkfirst=False)
    op.execute(
        f"INSERT INTO ledger_entries ({_ENTRIES}) "
        f"SELECT id, organization_id, {kind}, ref, amount_nanos, {counterpart}, created_at "
        "FROM ledger_entries_before"
    )
    op.execute("DROP TABLE ledger_entries_before")
    for statement in _statements("0001_triggers_sqlite.sql"):
        if "ON ledger_entries" in statement:
            connection.exec_driver_sql(statement)


def _entries(kinds: Sequence[str], counterparts: Sequence[str], *, with_reason: bool) -> Table:
    schema = MetaData(naming_convention=NAMES)
    Table("accounts", schema, Column("id", Id, primary_key=True))
    return Table(
        "ledger_entries",
        schema,
        Column("id", Count, primary_key=True, autoincrement=True),
        Column("organization_id", Id, ForeignKey("accounts.id"), nullable=False),
        *required(Text, "kind", "ref"),
        *nanos("amount_nanos", least=-NANOS_MAX),
        Column("counterpart", Text, nullable=False),
        Column("created_at", Instant, nullable=False),
        *([Column("reason", Text)] if with_reason else []),
        CheckConstraint(_one_of("kind", kinds), name="kind"),
        CheckConstraint(_one_of("counterpart", counterparts), name="counterpart"),
        UniqueConstraint("kind", "ref"),
        Index(None, "organization_id", "id"),
        sqlite_strict=True,
    )


def _one_of(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def _now(connection: Connection) -> str:
    if connection.dialect.name == "postgresql":
        return "now()"
    return "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')"


def _statements(name: str) -> Iterator[str]:
    """Split a file of SQL: a statement ends before an empty line and a line not indented."""
    yield from re.split(r";\n\n(?=\S)", (_SQL / name).read_text())
