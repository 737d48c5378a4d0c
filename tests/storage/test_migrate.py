"""The schema: up, down, the same as the tables say, and history that can't be rewritten."""

import asyncio

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, inspect, select, text
from sqlalchemy.exc import DBAPIError

from gateway.storage import database as database_module
from gateway.storage import migrate
from gateway.storage.database import Database, DatabaseError
from gateway.storage.ledger import freezes, invariants
from gateway.storage.schema import MIGRATIONS, revisions
from gateway.storage.tables import accounts, credit_lots, ledger_entries, metadata


async def test_tables_and_migrations_agree(database: Database):
    async with database.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.check(migrate.config(sync)))
        created = await connection.run_sync(_names_of_checks)
    declared = {
        str(check.name)
        for table in metadata.tables.values()
        for check in table.constraints
        if isinstance(check, CheckConstraint)
    }
    assert created == declared


def _names_of_checks(connection: Connection) -> set[str]:
    found = inspect(connection).get_multi_check_constraints()
    return {str(check["name"]) for checks in found.values() for check in checks}


async def test_down_to_nothing_and_up_again(database: Database):
    async with database.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.downgrade(migrate.config(sync), "base"))
        left = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        functions = "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        if not database.is_sqlite:
            left += await connection.scalars(text(functions))
    assert left == ["alembic_version"]
    with pytest.raises(DatabaseError, match="run `gateway migrate`"):
        await migrate.check(database)
    await migrate.upgrade(database)
    await migrate.check(database)


async def test_a_schema_that_this_version_cannot_upgrade(database: Database):
    unreleased = "from before release 0.1.0, and can't be upgraded; use an empty database"
    for revision, advice in (
        ("0001", unreleased),
        ("0015", unreleased),
        (
            "9999_newer",
            (
                "and this version of the gateway is older than that: it is at "
                f"{revisions()[-1]}; run the newer version (docs/upgrading.md says how to go back)"
            ),
        ),
    ):
        async with database.write() as connection:
            await connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
        for use in (migrate.check, migrate.upgrade):
            with pytest.raises(DatabaseError) as refused:
                await use(database)
            where, said = str(refused.value).split(": the schema is at ")
            assert where.startswith(database.url.drivername)
            assert said.startswith(f"{revision}, ")
            assert said.endswith(advice)


async def test_two_at_once_do_not_collide(database_url: str):
    first, second = Database(database_url), Database(database_url)
    async with first.engine.connect() as connection:
        await connection.run_sync(lambda sync: command.downgrade(migrate.config(sync), "base"))
    await asyncio.gather(migrate.upgrade(first), asyncio.to_thread(_upgrade, second))
    await migrate.check(first)
    await first.close()


def _upgrade(database: Database) -> None:
    async def run() -> None:
        await migrate.upgrade(database)
        await database.close()

    asyncio.run(run())


async def test_accounts_of_the_first_schema(database: Database):
    """Debts are paid from what was available, operators' freezes stay, and down and up again."""
    now = "'2026-01-01T00:00:00+00:00'"
    debtor, stopped = (f"01a206dc-dbdd-7544-9d13-ce150f25679{end}" for end in "de")
    yes, no = ("1", "0") if database.is_sqlite else ("true", "false")
    async with database.engine.connect() as connection:
        await connection.run_sync(_downgrade, "0001_first_schema")
        script = (
            "INSERT INTO organizations (id, name, created_at) VALUES "
            f"('{debtor}', 'acme', {now}), ('{stopped}', 'acme', {now});"
            "INSERT INTO accounts (id, organization_id, available_nanos, leased_nanos, owed_nanos, "
            f"spent_nanos, frozen) VALUES ('{debtor}', '{debtor}', 5, 0, 3, 0, {yes}), "
            f"('{stopped}', '{stopped}', 0, 0, 0, 0, {yes});"
            "INSERT INTO credit_lots (id, organization_id, kind, amount_nanos, remaining_nanos, "
            f"source_ref, created_at) VALUES ('{stopped}', '{debtor}', 'paid', 2, 2, 'a', {now}), "
            f"('{debtor}', '{debtor}', 'promo', 3, 3, 'b', {now});"
            "INSERT INTO ledger_entries (organization_id, kind, ref, amount_nanos, counterpart, "
            f"created_at) VALUES ('{debtor}', 'grant', '{stopped}', 2, 'stripe_clearing', {now}), "
            f"('{debtor}', 'grant', '{debtor}', 3, 'promo_expense', {now}), "
            f"('{debtor}', 'reversal', 'c', -3, 'stripe_clearing', {now})"
        )
        for statement in script.split(";"):
            await connection.execute(text(statement))
        await connection.commit()
    await migrate.upgrade(database)
    assert await _audited(database, debtor) == ((2, 0), [0, 2], ["manual_adjustments"] * 2)
    assert await _causes(database, debtor, stopped) == [[], ["operator"]]
    async with database.engine.connect() as connection:
        await connection.run_sync(_downgrade, "0001_first_schema")
        query = text(f"SELECT id FROM accounts WHERE frozen <> {no}")
        assert [str(one) for one in await connection.scalars(query)] == [stopped]
        kept = text("SELECT count(*) FROM ledger_entries WHERE counterpart = 'stripe_clearing'")
        assert await connection.scalar(kept) == 2
    await migrate.upgrade(database)
    assert await _causes(database, debtor, stopped) == [[], ["operator"]]
    with pytest.raises(DBAPIError, match="append-only"):
        async with database.write() as connection:
            await connection.execute(text("DELETE FROM ledger_entries"))


async def test_a_process_of_the_last_version_runs_beside_the_new_schema(database: Database):
    """It names the column that this version does not have any more."""
    no = "0" if database.is_sqlite else "false"
    async with database.write() as connection:
        await connection.execute(text(_ORGANIZATION))
        await connection.execute(
            text(
                "INSERT INTO accounts (id, organization_id, available_nanos, leased_nanos, "
                f"owed_nanos, spent_nanos, frozen) VALUES ('{_ACME}', '{_ACME}', 5, 0, 0, 0, {no})"
            )
        )
        assert not await connection.scalar(text("SELECT frozen FROM accounts"))


async def test_the_ledger_goes_on_while_its_entries_are_checked(
    postgresql_database_url: list[str],
):
    database = Database(postgresql_database_url[0])
    valid = text(
        "SELECT bool_and(convalidated) FROM pg_constraint "
        "WHERE conrelid = 'ledger_entries'::regclass"
    )
    async with database.engine.connect() as connection:
        await connection.run_sync(_downgrade, "0001_first_schema")
        await connection.run_sync(_upgrade_to, "0002_freezes_and_books")
        assert not await connection.scalar(valid)
        await connection.rollback()
        await connection.run_sync(_upgrade_to, "head")
        assert await connection.scalar(valid)
    await database.close()


async def test_an_upgrade_waits_for_a_tick_that_is_halfway(postgresql_database_url: list[str]):
    """It has posted an entry and goes on to the account, as leases are posted."""
    database = Database(postgresql_database_url[0])
    tick = Database(postgresql_database_url[0])
    async with database.engine.connect() as connection:
        await connection.run_sync(_downgrade, "0001_first_schema")
        await connection.execute(text(_ORGANIZATION))
        await connection.execute(
            text(
                "INSERT INTO accounts (id, organization_id, available_nanos, leased_nanos, "
                f"owed_nanos, spent_nanos, frozen) VALUES ('{_ACME}', '{_ACME}', 5, 0, 0, 0, false)"
            )
        )
        await connection.commit()
    async with tick.engine.connect() as connection:
        await connection.execute(text("SELECT id FROM leases FOR UPDATE"))
        await connection.execute(
            text(
                "INSERT INTO ledger_entries (organization_id, kind, ref, amount_nanos, "
                f"counterpart, created_at) VALUES ('{_ACME}', 'usage', 'a', -1, 'revenue', now())"
            )
        )
        upgrading = asyncio.create_task(migrate.upgrade(database))
        waits = text(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        async with asyncio.timeout(20):
            while not await connection.scalar(waits):
                assert not upgrading.done()
        await connection.execute(text("UPDATE accounts SET spent_nanos = 1"))
        await connection.commit()
    await upgrading
    await migrate.check(database)
    await database.close()
    await tick.close()


_ACME = "01a206dc-dbdd-7544-9d13-ce150f25679d"
_ORGANIZATION = (
    "INSERT INTO organizations (id, name, created_at) VALUES "
    f"('{_ACME}', 'acme', '2026-01-01T00:00:00+00:00')"
)


def _upgrade_to(connection: Connection, to: str) -> None:
    command.upgrade(migrate.config(connection), to)
    connection.commit()


def _downgrade(connection: Connection, to: str) -> None:
    command.downgrade(migrate.config(connection), to)
    connection.commit()


async def _causes(database: Database, *account_ids: str) -> list[list[str]]:
    async with database.read() as connection:
        return [await freezes.causes(connection, one) for one in account_ids]


async def _audited(database: Database, account_id: str) -> tuple[object, list[int], list[str]]:
    """What the account has and owes, what lots have, and the counterparts of what was bought."""
    async with database.read() as connection:
        assert await invariants.audit(connection) == []
        row = (
            await connection.execute(
                select(accounts.c.available_nanos, accounts.c.owed_nanos).where(
                    accounts.c.id == account_id
                )
            )
        ).one()
        lots = select(credit_lots.c.remaining_nanos).order_by(credit_lots.c.remaining_nanos)
        names = select(ledger_entries.c.counterpart).where(
            ledger_entries.c.counterpart != "promo_expense"
        )
        return (
            tuple(row),
            list((await connection.scalars(lots)).all()),
            list((await connection.scalars(names)).all()),
        )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/name", "use postgresql"),
        ("nonsense", "not a database address"),
    ],
)
def test_an_address_that_cannot_be_used(url: str, message: str):
    with pytest.raises(DatabaseError, match=message):
        Database(url)


async def test_a_broken_file_is_one_clear_line(tmp_path):
    path = tmp_path / "gateway.db"
    path.write_text("this is not a database, " * 100)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match=r"gateway\.db: file is not a database"):
        await migrate.upgrade(database)
    await database.close()


async def test_an_upgrade_lets_others_go_on_while_it_waits(
    postgresql_database_url: list[str], monkeypatch: pytest.MonkeyPatch
):
    """`pg_dump` holds its locks for hours, and whoever waits for one has all ticks wait behind."""
    monkeypatch.setattr(migrate, "_WAIT", "50ms")
    monkeypatch.setattr(migrate, "_PAUSE_SECONDS", 0.05)
    database, others = (Database(postgresql_database_url[0]) for _ in range(2))
    async with database.engine.connect() as connection:
        await connection.run_sync(_downgrade, "0022_floods")
    async with others.engine.connect() as backup:
        await backup.execute(text("LOCK TABLE usage_events IN ACCESS SHARE MODE"))
        upgrading = asyncio.create_task(migrate.upgrade(database))
        waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'")
        async with asyncio.timeout(20):
            for _ in range(2):  # it waits, gives up, and waits again
                while not await backup.scalar(waits):
                    assert not upgrading.done()
                async with others.write() as connection:
                    await connection.execute(text("DELETE FROM usage_events WHERE false"))
        assert not upgrading.done()
    await upgrading
    await migrate.check(database)
    await database.close()
    await others.close()


async def test_a_migration_has_all_the_time_it_needs(
    postgresql_database_url: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database_module, "_COMMAND_SECONDS", 0.2)
    database = Database(postgresql_database_url[0])
    holder = Database(postgresql_database_url[0], is_patient=True)
    async with holder.engine.connect() as connection:
        await connection.execute(text(f"SELECT pg_advisory_lock({migrate._LOCK})"))
        waiting = asyncio.create_task(migrate.upgrade(database))
        await connection.execute(text("SELECT pg_sleep(0.6)"))
        assert not waiting.done()
        await connection.execute(text(f"SELECT pg_advisory_unlock({migrate._LOCK})"))
    await waiting
    await holder.close()
    await database.close()


def test_the_revision_of_the_highest_number_is_the_newest():
    """A start compares with it, and does not run all of them to find the head."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    known = revisions()
    assert set(known) == {script.revision for script in scripts.walk_revisions()}
    assert known[-1] == scripts.get_current_head()
