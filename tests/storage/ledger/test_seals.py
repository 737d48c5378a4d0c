"""An audit reads what came after the last seal, misses nothing by it, and forgets no breach."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest
from sqlalchemy import delete, insert, select, text

from gateway.control_plane.billing import audit_runs
from gateway.control_plane.billing.audit import audit, audit_in_turn
from gateway.control_plane.trail import audits
from gateway.identifiers import first_id, new_id
from gateway.storage.database import Database
from gateway.storage.ledger import budgets, seals
from gateway.storage.ledger.seals import Reach
from gateway.storage.tables import accounts, audit_sums, ledger_entries
from testing.filled import Books

NAME = "lease-equals-usage"


@pytest.fixture
async def database(postgresql_database_url: list[str]) -> AsyncIterator[Database]:
    opened = Database(postgresql_database_url[0])
    yield opened
    await opened.close()


@pytest.fixture
async def books(database: Database) -> Books:
    return await Books.fill(database)


async def breaches(database: Database) -> list[str]:
    """Audit as the job does, and say what is broken."""
    assert await audit(database)
    async with database.read() as connection:
        return list((await audits.latest(connection))["ledger"].breaches)


async def sealed(database: Database) -> Reach:
    async with database.read() as connection:
        reach = await seals.sealed(connection)
    assert reach is not None
    return reach


async def cook(database: Database, statement: str) -> None:
    """Change history, which its triggers refuse."""
    async with database.write() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text(statement))


async def test_each_audit_goes_on_at_the_seal(books: Books, database: Database):
    assert await breaches(database) == []
    first = await sealed(database)
    await books.use(4)
    await books.post()
    await books.use(2, lease_id=new_id())
    assert await breaches(database) == []
    second = await sealed(database)
    assert second.entries == first.entries + 2
    assert second.usage == first.usage + 2
    async with database.read() as connection:
        (run,) = await audit_runs.recent(connection, limit=1)
    assert run.balances.sum_nanos == 0
    # what is before the seal is not read: that history was changed there, a whole audit finds
    await cook(
        database,
        "UPDATE ledger_entries SET amount_nanos = amount_nanos - 1 WHERE "
        f"kind = 'usage' AND id <= {first.entries}",
    )
    assert await breaches(database) == []


COOKED = {
    "spent-equals-ledger": "UPDATE accounts SET spent_nanos = spent_nanos + 1 WHERE key_id IS NULL",
    "lease-equals-usage": "UPDATE leases SET spent_nanos = spent_nanos + 1, "
    "opened_at = '2026-01-01' WHERE state = 'open'",
    "postings-equal-ledger": "UPDATE leases SET posted_nanos = posted_nanos - 1 "
    "WHERE state = 'open'",
    "budget-equals-usage": "UPDATE accounts SET spent_nanos = spent_nanos + 5, "
    "available_nanos = available_nanos - 5 WHERE key_id IS NOT NULL",
    "cost-is-tokens-times-price": "UPDATE usage_events SET cost_nanos = 0, charged_nanos = 0 "
    "WHERE position = (SELECT max(position) FROM usage_events)",
}


@pytest.mark.parametrize("broken", COOKED)
async def test_what_breaks_after_a_seal_is_found_until_it_is_mended(
    books: Books, database: Database, broken: str
):
    assert await breaches(database) == []
    await books.use(4)
    await books.post()
    await cook(database, COOKED[broken])
    for _ in range(2):
        assert broken in await breaches(database)


async def test_what_was_being_written_is_waited_for(books: Books, database: Database):
    """A number below the seal that is committed after it would be missed for ever."""
    async with database.engine.connect() as slow:
        values = {"organization_id": books.customer.organization_id, "kind": "grant",
                  "amount_nanos": 8, "counterpart": "promo_expense",
                  "created_at": datetime.now(UTC)}  # fmt: skip
        slow_id = await slow.scalar(
            insert(ledger_entries).values(ref=new_id(), **values).returning(ledger_entries.c.id)
        )
        await books.use(2, lease_id=new_id())  # enters a higher number, and commits it
        async with database.engine.connect() as connection:
            reaching = asyncio.create_task(seals.reach(connection, None))
            done, _ = await asyncio.wait([reaching], timeout=0.3)
            assert not done
            await slow.rollback()
            reach = await reaching
    assert reach is not None
    assert reach.entries > slow_id


async def test_hours_are_looked_at_when_they_are_over(books: Books, database: Database):
    """And once more when usage comes late: a journal of a dead process, or a clock that is slow."""
    assert await breaches(database) == []
    hour = (await sealed(database)).hours
    late = first_id(hour - timedelta(hours=5))[:14] + new_id()[14:]
    await books.use(1, request_id=late)
    assert await breaches(database) == []
    await cook(database, "UPDATE usage_hours SET tokens = tokens + 1 "
               f"WHERE hour = '{hour - timedelta(hours=5)}'")  # fmt: skip
    assert await breaches(database) == []  # its hour was over before
    await books.use(1, request_id=first_id(hour - timedelta(hours=5))[:14] + new_id()[14:])
    assert await breaches(database) == ["hours-equal-usage", "days-equal-hours"]
    async with database.write() as connection:  # three hours ago nobody had audited yet
        position = audit_sums.update().where(audit_sums.c.id == "usage_hours")
        await connection.execute(position.values(amount=audit_sums.c.amount - 6 * 3600))
    await cook(database, "UPDATE usage_hours SET tokens = tokens - 1 "
               f"WHERE hour = '{hour - timedelta(hours=5)}'")  # fmt: skip
    await cook(database, "UPDATE usage_days SET tokens = (SELECT sum(tokens) FROM usage_hours "
               "WHERE timezone('UTC', hour)::date = day)")  # fmt: skip
    assert await breaches(database) == []
    assert (await sealed(database)).hours == hour


async def test_sums_of_closed_leases_are_forgotten_once_they_are_right(
    books: Books, database: Database
):
    async def kept() -> set[str]:
        query = select(audit_sums.c.id).where(
            audit_sums.c.part == "sealed", audit_sums.c.kind == "lease"
        )
        async with database.read() as connection:
            return set(await connection.scalars(query))

    long_ago = "UPDATE leases SET opened_at = '2026-01-01'"
    await cook(database, long_ago)
    assert await breaches(database) == []
    assert await kept() == {books.lease, books.budget_lease}
    await books.use(3)
    await books.close()
    await cook(database, "UPDATE leases SET granted_nanos = granted_nanos + 1 "
               f"WHERE id = '{books.lease}'")  # fmt: skip
    for _ in range(2):
        assert await breaches(database) == ["closed-leases-are-posted"]
    await cook(database, f"UPDATE leases SET granted_nanos = granted_nanos - 1 "
               f"WHERE id = '{books.lease}'")  # fmt: skip
    assert await breaches(database) == []
    assert await kept() == set()
    assert await breaches(database) == []


@pytest.mark.usefixtures("now")
async def test_a_budget_that_is_set_late_knows_what_its_key_used(books: Books, database: Database):
    assert await breaches(database) == []
    async with database.write() as connection:
        await budgets.set_budget(connection, books.customer.key_id, 5_000, "month")
        spent = select(accounts.c.spent_nanos).where(accounts.c.period != "total")
        assert await connection.scalar(spent)
    assert await breaches(database) == []


@pytest.mark.usefixtures("books")
async def test_one_process_audits_and_all_tell_what_it_found(database: Database):
    await audit_in_turn(database, 300.0)
    await audit_in_turn(database, 300.0)
    async with database.read() as connection:
        (run,) = await audit_runs.recent(connection, limit=5)
    assert gauge(NAME) == 0
    async with database.engine.connect() as other:
        await other.execute(text("SELECT pg_advisory_lock(5759262)"))
        assert not await audit(database)
        await cook(database, "UPDATE audit_runs SET due_at = '2026-01-01', "
                   f"began_at = '2026-01-01' WHERE id = '{run.id}'")  # fmt: skip
        with pytest.raises(audits.AuditOverdue):
            await audit_in_turn(database, 300.0)
        assert gauge(NAME) != gauge(NAME)  # NaN: nobody knows
        await other.execute(text("SELECT pg_advisory_unlock(5759262)"))
    await audit_in_turn(database, 300.0)
    assert gauge(NAME) == 0


async def test_an_audit_that_fails_is_not_one_that_found_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object) -> None:
        raise RuntimeError("boom")

    await audit_in_turn(database, 300.0)
    async with database.write() as connection:
        await connection.execute(delete(audit_sums))
    monkeypatch.setattr(seals, "sealed", fail)
    with pytest.raises(RuntimeError):
        await audit_in_turn(database, 0.0)
    assert gauge(NAME) != gauge(NAME)


def gauge(invariant: str) -> float:
    """What /metrics says of an invariant."""
    line = f'gateway_audit_breaches{{invariant="{invariant}"}} '
    (told,) = (one for one in generate_latest().decode().splitlines() if one.startswith(line))
    return float(told.removeprefix(line))
