"""A tick that the ledger refuses stops its organization alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from gateway.data_plane.metering import refusals, writer
from gateway.data_plane.metering.engine_rules import EngineRules
from gateway.data_plane.metering.leased_credits import LeasedCredits
from gateway.data_plane.metering.leases import LeaseRules
from gateway.data_plane.metering.messages import LedgerRefused, Tick, TickAnswer, UsageLine
from gateway.data_plane.metering.port import AccountUnderReview
from gateway.storage.database import Database
from gateway.storage.ledger import freezes, grants
from gateway.storage.ledger.upkeep import reap
from gateway.storage.tables import (
    NANOS_MAX,
    accounts,
    credit_lots,
    leases,
    ledger_entries,
    usage_events,
)
from testing.ledger import (
    NANOS_PER_TOKEN,
    Customer,
    add_credit,
    add_customer,
    assert_sound,
    ledger_of,
    running,
)

JOURNALS = EngineRules(commit_seconds=0.01, credit_seconds=20, close_seconds=0.1)


async def spend(engine: LeasedCredits, customer: Customer, tokens: int = 1) -> None:
    charge = customer.charge(tokens)
    await engine.reserve(charge)
    await engine.settle(charge)


async def set_lots(database: Database, customer: Customer, tokens: int) -> None:
    """Have the lots of an organization say what its account does not, or does again."""
    async with database.write() as connection:
        await connection.execute(
            update(credit_lots)
            .where(credit_lots.c.organization_id == customer.organization_id)
            .values(
                remaining_nanos=tokens * NANOS_PER_TOKEN,
                burned_nanos=credit_lots.c.amount_nanos - tokens * NANOS_PER_TOKEN,
            )
        )


async def usage(database: Database, customer: Customer) -> int:
    query = select(func.count()).where(
        usage_events.c.organization_id == customer.organization_id, usage_events.c.charged_nanos > 0
    )
    async with database.read() as connection:
        return await connection.scalar(query) or 0


async def frozen(database: Database) -> set[str]:
    async with database.read() as connection:
        return await freezes.frozen_by(connection, "books", ref=freezes.REFUSED)


@contextlib.asynccontextmanager
async def soon() -> AsyncIterator[None]:
    async with asyncio.timeout(20):
        yield


async def test_the_books_of_one_stop_nobody_else(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(refusals, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(refusals, "RETRY_SECONDS_MAX", 0.05)
    bad, *good = [await add_customer(database, 1000) for _ in range(5)]
    async with running(database, tmp_path) as engine:
        for customer in (bad, *good):
            await spend(engine, customer)
        await set_lots(database, bad, 0)
        # each needs more than it has leased, so all are in one tick
        asked = [asyncio.create_task(spend(engine, one, 500)) for one in (bad, *good)]
        (refusal, *others) = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(refusal, AccountUnderReview)
        assert others == [None] * 4
        with pytest.raises(AccountUnderReview):
            await engine.reserve(bad.charge())
        assert (engine.writer.state, engine.writer.refused_organizations) == ("refuses", 1)
        assert engine.writer.reachable
        async with soon():
            while await frozen(database) != {bad.organization_id}:
                await asyncio.sleep(0.01)
        await set_lots(database, bad, 1000)
        async with soon():
            while engine.writer.state == "refuses":
                await asyncio.sleep(0.01)
        with pytest.raises(AccountUnderReview):  # until an operator has looked
            await engine.reserve(bad.charge())
        async with database.write() as connection:
            await freezes.lift(connection, bad.organization_id, "books", ref=freezes.REFUSED)
        await spend(engine, bad, 500)
    assert [await usage(database, one) for one in (bad, *good)] == [2] * 5
    await assert_sound(database)


async def test_what_was_answered_is_charged_once_the_books_are_mended(
    database: Database, tmp_path: Path
):
    """The process that answered it is dead by then, and others took its journal over in vain."""
    bad, good = [await add_customer(database, 1000) for _ in range(2)]
    journals = tmp_path / "journals"
    refusing = Refusing(database)
    async with running(database, journals, ledger=refusing, rules=JOURNALS) as engine:
        refusing.holds = True
        settling = asyncio.gather(spend(engine, bad), spend(engine, good))
        await refusing.holding.wait()
        await settling  # by the journal
        refusing.organizations = {bad.organization_id}
        refusing.let_go()
        async with soon():
            while not engine.writer.refused_organizations:
                await asyncio.sleep(0.01)
    assert (await usage(database, bad), await usage(database, good)) == (0, 1)
    refusing = Refusing(database)
    refusing.organizations = {bad.organization_id}
    async with running(database, journals, ledger=refusing) as engine:
        async with soon():
            while not engine.writer.refused_organizations:
                await asyncio.sleep(0.01)
        await spend(engine, good)
    assert (await usage(database, bad), await usage(database, good)) == (0, 2)
    async with running(database, journals), soon():
        while await usage(database, bad) == 0 or len(list(journals.iterdir())) > 1:
            await asyncio.sleep(0.01)  # its own stays until it ends
    assert list(journals.iterdir()) == []
    await assert_sound(database)


async def test_a_lifetime_s_spending_has_no_bound(database: Database, tmp_path: Path):
    """Beyond 2^53 nano-dollars: nine million dollars, which is also more than a double holds."""
    customer = await add_customer(database, 1000)
    async with database.write() as connection:
        await connection.execute(update(accounts).values(spent_nanos=NANOS_MAX))
    async with running(database, tmp_path) as engine:
        await spend(engine, customer)
    async with database.read() as connection:
        spent = await connection.scalar(select(accounts.c.spent_nanos))
    assert spent == NANOS_MAX + NANOS_PER_TOKEN


@pytest.mark.sqlite
async def test_who_waits_while_his_tick_is_refused_is_not_charged(
    database: Database, tmp_path: Path
):
    customer = await add_customer(database, 1000)
    refusing = Refusing(database)
    async with running(database, tmp_path, ledger=refusing) as engine:
        charge = customer.charge()
        await engine.reserve(charge)
        refusing.organizations = {customer.organization_id}
        with pytest.raises(AccountUnderReview):
            await engine.settle(charge)
    assert await usage(database, customer) == 0
    await assert_sound(database)


@pytest.mark.sqlite
async def test_a_ledger_that_refuses_everything_blames_nobody(database: Database, tmp_path: Path):
    customer = await add_customer(database, 1000)
    refusing = Refusing(database)
    async with running(database, tmp_path, ledger=refusing, rules=JOURNALS) as engine:
        await spend(engine, customer)
        refusing.everything = True
        await spend(engine, customer)  # by the journal
        async with soon():
            while engine.writer.state != "refuses":
                await asyncio.sleep(0.01)
        assert engine.writer.refused_organizations == 0
        assert not engine.writer.reachable
        refusing.everything = False
        async with soon():
            while engine.book.unconfirmed:
                await asyncio.sleep(0.01)
        assert engine.writer.state == "reachable"
    assert await frozen(database) == set()
    assert await usage(database, customer) == 2
    await assert_sound(database)


@pytest.mark.sqlite
async def test_one_of_many_is_found_in_few_ticks(database: Database, tmp_path: Path):
    """All others have what they asked for meanwhile, or right after."""
    customers = [await add_customer(database, 1000) for _ in range(32)]
    bad, *good = customers
    refusing = Refusing(database)
    async with running(database, tmp_path, ledger=refusing) as engine:
        refusing.organizations = {bad.organization_id}
        asked = [asyncio.create_task(spend(engine, one)) for one in customers]
        (refusal, *others) = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(refusal, AccountUnderReview)
        assert others == [None] * 31
        assert engine.writer.refusals <= 6  # all of them, and each half of those
    assert [await usage(database, one) for one in good] == [1] * 31


@pytest.mark.sqlite
async def test_few_are_frozen_however_many_are_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """If a process has the ledger refuse all of its customers, it is hardly their books."""
    monkeypatch.setattr(writer, "_FROZEN_MAX", 2)
    customers = [await add_customer(database, 1000) for _ in range(5)]
    refusing = Refusing(database)
    async with running(database, tmp_path, ledger=refusing) as engine:
        refusing.organizations = {one.organization_id for one in customers}
        asked = [asyncio.create_task(spend(engine, one)) for one in customers]
        refused = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(error, AccountUnderReview) for error in refused)
        assert engine.writer.refused_organizations == 5
        refusing.organizations = set()
    assert len(await frozen(database)) <= 2


async def test_a_lease_that_can_t_be_closed_holds_up_no_other(database: Database, tmp_path: Path):
    bad, good = [await add_customer(database, 1000) for _ in range(2)]
    # a reaper leaves a lease to the tick that holds it, so there is none
    silent = LeaseRules(idle_seconds=60, heartbeat_seconds=60)
    async with running(database, tmp_path, rules=JOURNALS, leases=silent) as engine:
        await spend(engine, bad)
        await spend(engine, good)
        await set_lots(database, bad, 0)
        later = datetime.now(UTC) + timedelta(minutes=5)
        assert await reap(database, at=later) == 1
        assert await frozen(database) == {bad.organization_id}
        assert await reap(database, at=later) == 0
        await set_lots(database, bad, 1000)
        assert await reap(database, at=later) == 1
    async with database.read() as connection:
        left = await connection.scalar(select(func.sum(accounts.c.leased_nanos)))
        is_open = leases.c.state == "open"
        assert await connection.scalar(select(func.count()).where(is_open)) == 0
    assert left == 0
    await assert_sound(database)


async def test_a_lot_that_can_t_be_expired_holds_up_no_other(database: Database):
    customers = [await add_customer(database) for _ in range(3)]
    over = datetime.now(UTC) - timedelta(days=1)
    for one in customers:
        await add_credit(database, one, 10, expires_at=over)
    bad = min(customers)  # comes first
    async with database.write() as connection:
        own = accounts.c.id == bad.organization_id
        await connection.execute(update(accounts).where(own).values(available_nanos=10**6))
        entry = insert(ledger_entries).values(
            organization_id=bad.organization_id, kind="expiry", amount_nanos=-1,
            counterpart="breakage", created_at=over,
            ref=select(credit_lots.c.id).where(
                credit_lots.c.organization_id == bad.organization_id
            ).scalar_subquery(),
        )  # fmt: skip
        await connection.execute(entry)
    assert await grants.expire(database) == 2
    assert await frozen(database) == {bad.organization_id}
    assert await grants.expire(database) == 0


class Refusing:
    """A ledger that refuses what some organizations use, and keeps ticks with usage waiting."""

    def __init__(self, database: Database) -> None:
        self._ledger = ledger_of(database)
        self.organizations: set[str] = set()
        self.everything = False
        self.holds = False
        self.holding = asyncio.Event()
        self._go_on = asyncio.Event()

    def let_go(self) -> None:
        self.holds = False
        self._go_on.set()

    async def tick(self, tick: Tick) -> TickAnswer:
        while self.holds and tick.usage:
            self.holding.set()
            await self._go_on.wait()
        told = b"".join(map(bytes, tick.usage)).decode() + str(tick.leases)
        if self.everything or any(name in told for name in self.organizations):
            raise LedgerRefused("a constraint")
        return await self._ledger.tick(tick)

    async def freeze(self, organization_id: str, reason: str) -> bool:
        return await self._ledger.freeze(organization_id, reason)

    async def strangers(self, lines: Sequence[UsageLine]) -> set[str]:
        return await self._ledger.strangers(lines)

    async def close(self) -> None:
        await self._ledger.close()
