"""The engine against a real database: what is charged, refused, given back and recalled."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import sqlalchemy.exc
from sqlalchemy import func, insert, select

from gateway.data_plane.metering.book import LeaseBook
from gateway.data_plane.metering.chain import ReceiptChain
from gateway.data_plane.metering.engine_rules import EngineRules
from gateway.data_plane.metering.leases import LeaseRules
from gateway.data_plane.metering.messages import LedgerUnavailable, TickAnswer
from gateway.data_plane.metering.port import (
    BudgetExceeded,
    CreditUnavailable,
    InsufficientCredit,
)
from gateway.data_plane.metering.protocol import LeaseProtocol
from gateway.storage.database import Database
from gateway.storage.ledger import budgets
from gateway.storage.tables import accounts, credit_lots, usage_events, usage_hours
from testing.ledger import (
    NANOS_PER_TOKEN,
    add_credit,
    add_customer,
    assert_sound,
    ledger_of,
    running,
)


async def usage_of(database, customer) -> tuple[int, int]:
    query = select(func.count(), func.coalesce(func.sum(usage_events.c.charged_nanos), 0)).where(
        usage_events.c.organization_id == customer.organization_id
    )
    async with database.read() as connection:
        return tuple((await connection.execute(query)).one())


async def account_of(database, account_id):
    async with database.read() as connection:
        query = select(accounts).where(accounts.c.id == account_id)
        return (await connection.execute(query)).one_or_none()


async def test_a_request_is_charged_its_cost(database: Database, tmp_path):
    customer = await add_customer(database, 1000)
    async with running(database, tmp_path) as engine:
        charge = customer.charge(10)
        balance = await engine.reserve(charge)
        assert balance == 990 * NANOS_PER_TOKEN
        await engine.settle(charge)
        assert await usage_of(database, customer) == (1, 10 * NANOS_PER_TOKEN)
        await assert_sound(database)
    await assert_sound(database)
    account = await account_of(database, customer.organization_id)
    assert (account.available_nanos, account.leased_nanos) == (990 * NANOS_PER_TOKEN, 0)


async def test_a_released_request_costs_nothing(database: Database, tmp_path):
    customer = await add_customer(database, 10)
    async with running(database, tmp_path) as engine:
        for _ in range(3):
            charge = customer.charge(10)
            await engine.reserve(charge)
            await engine.release(charge)
            await engine.release(charge)
    assert await usage_of(database, customer) == (0, 0)
    assert (await account_of(database, customer.organization_id)).available_nanos == 80


async def test_without_credit_it_is_402_and_says_so(database: Database, tmp_path):
    customer = await add_customer(database, 5)
    async with running(database, tmp_path) as engine:
        with pytest.raises(InsufficientCredit, match=r"48 nano-dollars .* has 40 left"):
            await engine.reserve(customer.charge(6))
        charge = customer.charge(5)
        assert await engine.reserve(charge) == 0
        await engine.settle(charge)
    assert await usage_of(database, customer) == (1, 40)


async def test_what_is_left_is_told_with_each_reservation(database: Database, tmp_path):
    """Some of it is on the lease, and the rest is the account's."""
    customer = await add_customer(database, 100)
    rules = LeaseRules(slice_nanos=160, slice_nanos_max=160)
    async with running(database, tmp_path, leases=rules) as engine:
        charges = [customer.charge(1) for _ in range(3)]
        left = [await engine.reserve(charge) for charge in charges]
        purse = engine.book.purse(customer.organization_id)
        assert purse.available_nanos > 0
        for charge in charges:
            await engine.release(charge)
    assert left == [792, 784, 776]


async def test_credit_on_another_process_is_recalled(database: Database, tmp_path):
    customer = await add_customer(database, 10)
    async with running(database, tmp_path) as first, running(database, tmp_path) as second:
        charge = customer.charge(1)
        await first.reserve(charge)
        await first.settle(charge)
        all_the_rest = customer.charge(9)
        await second.reserve(all_the_rest)
        await second.settle(all_the_rest)
        with pytest.raises(InsufficientCredit):
            await first.reserve(customer.charge(1))
    assert await usage_of(database, customer) == (2, 80)
    await assert_sound(database)


async def test_credit_that_only_waits_for_a_retry_is_recalled(database: Database, tmp_path):
    customer = await add_customer(database, 10)
    async with running(database, tmp_path) as first, running(database, tmp_path) as second:
        waiting = customer.charge(10)
        await first.reserve(waiting)
        first.keep(waiting, 60)
        await spend(second, customer, 10)
        with pytest.raises(InsufficientCredit):
            await first.resume(waiting)
    assert await usage_of(database, customer) == (1, 80)
    await assert_sound(database)


async def test_credit_that_only_waits_is_given_up_before_anybody_is_refused(
    database: Database, tmp_path
):
    customer = await add_customer(database, 10)
    async with running(database, tmp_path) as engine:
        waiting = customer.charge(4)
        await engine.reserve(waiting)
        engine.keep(waiting, 60)
        assert await engine.resume(waiting) == 48
        engine.keep(waiting, 60)
        await spend(engine, customer, 6)
        await spend(engine, customer, 4)
        assert not engine.book.kept
        with pytest.raises(InsufficientCredit):
            await engine.resume(waiting)
        await add_credit(database, customer, 4)
        await engine.resume(waiting)
        await engine.settle(waiting)
    assert await usage_of(database, customer) == (3, 112)
    await assert_sound(database)


async def test_what_only_waits_keeps_nobody_from_closing(database: Database, tmp_path):
    customer = await add_customer(database, 10)
    async with running(database, tmp_path) as engine:
        waiting, late = customer.charge(4), customer.charge(1)
        await engine.reserve(waiting)
        await engine.reserve(late)
        engine.keep(waiting, 60)
        engine._protocol.stop()
        engine._stopping.set()
        engine.keep(late, 60)  # of a request that ends as the process does
        assert not engine.book.held
    account = await account_of(database, customer.organization_id)
    assert (account.available_nanos, account.leased_nanos) == (80, 0)


async def test_many_at_once_never_spend_more_than_there_is(database: Database, tmp_path):
    customer = await add_customer(database, 100)

    async def one(engine) -> int:
        charge = customer.charge(7)
        try:
            await engine.reserve(charge)
        except InsufficientCredit:
            return 0
        await engine.settle(charge)
        return 1

    async with running(database, tmp_path) as engine:
        served = sum(await asyncio.gather(*[one(engine) for _ in range(50)]))
    assert served == 14
    assert await usage_of(database, customer) == (14, 14 * 56)
    await assert_sound(database)


async def test_promo_burns_before_paid(database: Database, tmp_path):
    customer = await add_customer(database, 100)
    await add_credit(database, customer, 50, kind="promo")
    async with running(database, tmp_path) as engine:
        charge = customer.charge(60)
        await engine.reserve(charge)
        await engine.settle(charge)
    async with database.read() as connection:
        query = select(credit_lots.c.kind, credit_lots.c.remaining_nanos)
        left = dict((await connection.execute(query)).all())
    assert left == {"promo": 0, "paid": 90 * NANOS_PER_TOKEN}


async def test_a_key_s_budget_is_exact(database: Database, tmp_path):
    customer = await add_customer(database, 1000)
    async with database.write() as connection:
        await budgets.set_budget(connection, customer.key_id, 10 * NANOS_PER_TOKEN, "month")
    async with running(database, tmp_path) as engine:
        for _ in range(3):
            charge = customer.charge(3, budget="month")
            await engine.reserve(charge)
            await engine.settle(charge)
        with pytest.raises(BudgetExceeded, match="has 8 left"):
            await engine.reserve(customer.charge(3, budget="month"))
        async with database.write() as connection:
            await budgets.set_budget(connection, customer.key_id, 12 * NANOS_PER_TOKEN, "month")
        charge = customer.charge(3, budget="month")
        await engine.reserve(charge)
        await engine.settle(charge)
        await assert_sound(database)
    assert await usage_of(database, customer) == (4, 96)
    await assert_sound(database)


async def test_a_refusal_of_the_organization_leaves_the_key_s_budget_whole(
    database: Database, tmp_path
):
    customer = await add_customer(database)
    async with database.write() as connection:
        await budgets.set_budget(connection, customer.key_id, 10 * NANOS_PER_TOKEN, "month")
    async with running(database, tmp_path) as engine:
        with pytest.raises(InsufficientCredit, match="has 0 left"):
            await engine.reserve(customer.charge(10, budget="month"))
        await add_credit(database, customer, 10)
        await spend(engine, customer, 10, budget="month")
    assert await usage_of(database, customer) == (1, 80)


async def spend(engine, customer, tokens: int, budget=None) -> None:
    charge = customer.charge(tokens, budget=budget)
    await engine.reserve(charge)
    await engine.settle(charge)


@pytest.mark.parametrize("period", ["month", "total"])
@pytest.mark.usefixtures("now")
async def test_a_budget_that_is_set_later_counts_what_was_spent(
    database: Database, tmp_path, period
):
    customer = await add_customer(database, 1000)

    async def allow(tokens: int) -> None:
        async with database.write() as connection:
            limit = tokens * NANOS_PER_TOKEN
            await budgets.set_budget(connection, customer.key_id, limit, period)

    async def spent() -> int:
        async with database.read() as connection:
            now = datetime.now(UTC)
            found = await budgets.of_organization(connection, customer.organization_id, now)
        return found[customer.key_id].spent_nanos // NANOS_PER_TOKEN

    async with running(database, tmp_path) as engine:
        await spend(engine, customer, 6)
        await allow(10)
        assert await spent() == 6
        with pytest.raises(BudgetExceeded, match="has 32 left"):
            await engine.reserve(customer.charge(5, budget=period))
        await spend(engine, customer, 3, budget=period)
        await allow(10)  # once more, and nothing is counted twice
        assert await spent() == 9
        async with database.write() as connection:
            await budgets.remove_budget(connection, customer.key_id)
        await spend(engine, customer, 4)
        await allow(12)
        assert await spent() == 13
        await assert_sound(database)
        with pytest.raises(BudgetExceeded, match="has 0 left"):
            await engine.reserve(customer.charge(1, budget=period))
        await allow(14)
        await spend(engine, customer, 1, budget=period)
    assert await spent() == 14
    await assert_sound(database)


@pytest.mark.usefixtures("now")
async def test_a_month_s_budget_counts_no_month_before(database: Database):
    customer = await add_customer(database, 1000)
    begin = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    async with database.write() as connection:
        for hour, tokens in ((begin - timedelta(hours=1), 5), (begin, 2)):
            await connection.execute(
                insert(usage_hours).values(
                    organization_id=customer.organization_id, key_id=customer.key_id, hour=hour,
                    model_id=customer.model_id, shard=0, requests=1, inputs=1, tokens=tokens,
                    charged_nanos=tokens,
                )
            )  # fmt: skip
    found = {}
    for period in ("month", "total"):
        async with database.write() as connection:
            await budgets.set_budget(connection, customer.key_id, 10, period)
            now = datetime.now(UTC)
            every = await budgets.of_organization(connection, customer.organization_id, now)
        found[period] = every[customer.key_id].spent_nanos
    assert found == {"month": 2, "total": 7}


@pytest.mark.usefixtures("now")
async def test_a_budget_set_under_load_misses_nothing_of_the_books(database: Database, tmp_path):
    customer = await add_customer(database, 1000)

    async def allow() -> None:
        async with database.write() as connection:
            await budgets.set_budget(connection, customer.key_id, 900 * NANOS_PER_TOKEN, "month")

    async with running(database, tmp_path) as engine:
        for n in range(20):  # with a budget and without, as a process does that is yet to hear
            budget = "month" if n % 2 else None
            await asyncio.gather(allow(), *(spend(engine, customer, 1, budget) for _ in range(4)))
        await allow()
    async with database.read() as connection:
        now = datetime.now(UTC)
        found = await budgets.of_organization(connection, customer.organization_id, now)
    assert found[customer.key_id].spent_nanos == 80 * NANOS_PER_TOKEN
    await assert_sound(database)


async def test_an_unknown_account_has_no_credit(database: Database, tmp_path):
    customer = await add_customer(database)
    async with running(database, tmp_path) as engine:
        with pytest.raises(InsufficientCredit):
            await engine.reserve(customer.charge(1))


async def test_a_database_that_is_away_is_503(database: Database, tmp_path):
    customer = await add_customer(database, 10)

    class Away:
        async def tick(self, _tick):
            raise LedgerUnavailable("away")

        async def close(self):
            pass

    rules = EngineRules(credit_seconds=0.2, close_seconds=0.1)
    async with running(database, tmp_path, ledger=Away(), rules=rules) as engine:
        with pytest.raises(CreditUnavailable):
            await engine.reserve(customer.charge(1))


class Unruly:
    """A ledger whose answers go wrong on the way; what it was told, it did."""

    def __init__(self, ledger) -> None:
        self.ledger = ledger
        self.wrong = None
        self.sizes = []

    async def tick(self, tick):
        self.sizes.append(len(tick.usage))
        answer = await self.ledger.tick(tick)
        match self.wrong:
            case Exception():
                raise self.wrong
            case "less than is in use":
                leases = [msgspec.structs.replace(told, granted_nanos=0) for told in answer.leases]
                return msgspec.structs.replace(answer, leases=leases)
        return answer

    async def close(self) -> None:
        await self.ledger.close()


def test_a_ledger_that_was_away_is_asked_again_though_there_is_nothing_to_say():
    """Or nobody would learn that it is back, and every request would be refused for ever."""
    now = [100.0]
    book = LeaseBook(LeaseRules(), lambda: now[0])
    talk = LeaseProtocol(book, ReceiptChain(None))
    beat = talk.compose()
    assert beat is not None
    assert talk.due_in() is None  # no purse, nothing in sight
    talk.failed(beat)
    for _ in range(3):
        due = talk.due_in()
        assert due is not None
        now[0] += due
        beat = talk.compose()
        assert beat is not None
        talk.failed(beat)
    talk.applied(beat, TickAnswer(refused=[], written_off=[], leases=[], closed=[], recalled=[]))
    assert talk.due_in() is None


@pytest.mark.parametrize(
    "wrong",
    [
        sqlalchemy.exc.TimeoutError("no connection in the pool"),
        msgspec.ValidationError("of another version"),
        AssertionError("our own mistake"),
        "less than is in use",
    ],
    ids=str,
)
async def test_the_writer_outlives_any_failure_and_charges_once(
    wrong, database: Database, tmp_path
):
    customer = await add_customer(database, 1_000)
    ledger = Unruly(ledger_of(database))
    async with running(
        database, tmp_path, ledger=ledger, rules=EngineRules(credit_seconds=20)
    ) as engine:
        held = [customer.charge(10) for _ in range(3)]
        for charge in held:
            await engine.reserve(charge)
        ledger.wrong = wrong
        for charge in held[:2]:
            await engine.settle(charge)
        with contextlib.suppress(CreditUnavailable, TimeoutError):
            async with asyncio.timeout(0.2):
                await engine.reserve(customer.charge(900))  # makes it ask for more
        if isinstance(wrong, Exception):
            async with asyncio.timeout(10):
                while engine.writer.reachable:
                    await asyncio.sleep(0.01)
            assert engine.away_seconds > 0
        ledger.wrong = None
        await engine.settle(held[2])
        async with asyncio.timeout(10):
            while engine.book.unconfirmed or not engine.writer.reachable:
                await asyncio.sleep(0.01)
        for charge in (customer.charge(10) for _ in range(2)):
            await engine.reserve(charge)
            await engine.settle(charge)
        async with asyncio.timeout(10):
            while engine.away_seconds:  # a heartbeat may be in flight
                await asyncio.sleep(0.01)
    assert await usage_of(database, customer) == (5, 5 * 80)
    await assert_sound(database)


async def test_a_request_alone_is_charged_at_once_and_those_that_come_faster_together(
    sqlite_database_url: list[str], tmp_path
):
    database = Database(sqlite_database_url[0])
    customer = await add_customer(database, 1_000)
    ledger = Unruly(ledger_of(database))
    rules = EngineRules(commit_seconds=20.0, gather_seconds=2.0)
    async with running(database, tmp_path, ledger=ledger, rules=rules) as engine:
        charges = [customer.charge(1) for _ in range(6)]
        for charge in charges:
            await engine.reserve(charge)
        ledger.sizes.clear()
        await engine.settle(charges[0])
        settling = []
        for charge in charges[1:]:
            settling.append(asyncio.create_task(engine.settle(charge)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*settling)
    await database.close()
    assert [size for size in ledger.sizes if size] == [1, 5]


async def test_who_waits_for_credit_does_not_wait_for_others_to_gather(
    sqlite_database_url: list[str], tmp_path
):
    database = Database(sqlite_database_url[0])
    first, second = [await add_customer(database, 1_000) for _ in range(2)]
    rules = EngineRules(commit_seconds=0.01, gather_seconds=60)
    async with running(database, tmp_path, rules=rules) as engine:
        charges = [first.charge(1) for _ in range(2)]
        for charge in charges:
            await engine.reserve(charge)
        await engine.settle(charges[0])
        gathering = asyncio.create_task(engine.settle(charges[1]))
        await asyncio.sleep(0)  # it is in the outbox
        assert len(engine.book.outbox) == 1
        waiting = second.charge(1)
        async with asyncio.timeout(20):
            await engine.reserve(waiting)
        await engine.release(waiting)
        await gathering
    await database.close()
