"""Reserve, settle, release: exact under any concurrency, on SQLite and on PostgreSQL."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from gateway.data_plane.metering.credits import (
    CreditUnavailable,
    InsufficientCredit,
    ReservationExpired,
)
from gateway.storage.database import Database
from gateway.storage.ledger import grants
from gateway.storage.ledger.transactional import TransactionalCredits
from gateway.storage.tables import reservations
from tests.support.gateways import Ledger


@pytest.fixture
def credit(database: Database) -> TransactionalCredits:
    return TransactionalCredits(database, reservation_seconds=120)


async def overdue(database: Database) -> None:
    """Let the deadline of every reservation pass."""
    async with database.write() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(reservations).values(expires_at=past))


async def test_reserve_and_settle(credit: TransactionalCredits, ledger: Ledger):
    await ledger.grant(100)
    charge = ledger.charge(40)
    assert await credit.reserve(charge) == 60
    balance = await ledger.balance()
    assert (balance.available_nanos, balance.reserved_nanos) == (60, 40)
    await credit.settle(charge)
    balance = await ledger.balance()
    assert (balance.available_nanos, balance.reserved_nanos) == (60, 0)
    assert [(row.request_id, row.cost_nanos) for row in await ledger.usage()] == [
        (charge.request_id, 40)
    ]
    assert await ledger.breaches() == []


async def test_release_gives_all_of_it_back(credit: TransactionalCredits, ledger: Ledger):
    await ledger.grant(100)
    charge = ledger.charge(40)
    await credit.reserve(charge)
    await credit.release(charge)
    await credit.release(charge)  # a second time changes nothing
    assert await ledger.available() == 100
    assert await ledger.usage() == []
    assert await ledger.breaches() == []


async def test_settling_again_charges_once(credit: TransactionalCredits, ledger: Ledger):
    await ledger.grant(100)
    charge = ledger.charge(40)
    await credit.reserve(charge)
    await credit.settle(charge)
    await credit.settle(charge)
    assert await ledger.available() == 60
    assert len(await ledger.usage()) == 1
    assert await ledger.breaches() == []


async def test_what_is_not_covered_is_refused_and_holds_nothing(
    credit: TransactionalCredits, ledger: Ledger
):
    await ledger.grant(39)
    with pytest.raises(InsufficientCredit, match="has 39 left"):
        await credit.reserve(ledger.charge(40))
    assert await ledger.available() == 39
    assert await ledger.breaches() == []


async def test_the_last_nano_can_be_spent(credit: TransactionalCredits, ledger: Ledger):
    await ledger.grant(40)
    charge = ledger.charge(40)
    assert await credit.reserve(charge) == 0
    await credit.settle(charge)
    assert await ledger.available() == 0


async def test_the_reservation_of_a_dead_process_goes_back(
    credit: TransactionalCredits, ledger: Ledger
):
    await ledger.grant(100)
    charge = ledger.charge(40)
    await credit.reserve(charge)
    assert await credit.reap() == 0
    await overdue(ledger.database)
    assert await credit.reap() == 1
    assert await ledger.available() == 100
    with pytest.raises(ReservationExpired):
        await credit.settle(charge)  # too late: it was given back, so it is not charged
    assert await ledger.usage() == []
    assert await ledger.breaches() == []


async def test_64_clients_on_credit_for_a_third_of_them(
    credit: TransactionalCredits, ledger: Ledger
):
    cost, clients = 24, 64
    enough_for = clients // 3
    await ledger.grant(cost * enough_for + 8)

    async def client() -> bool:
        charge = ledger.charge(cost)
        try:
            await credit.reserve(charge)
        except InsufficientCredit:
            return False
        await credit.settle(charge)
        return True

    served = sum(await asyncio.gather(*(client() for _ in range(clients))))
    assert served == enough_for
    assert await ledger.available() == 8
    assert len(await ledger.usage()) == enough_for
    assert await ledger.breaches() == []


async def test_everything_at_once_leaves_the_books_in_order(
    credit: TransactionalCredits, ledger: Ledger
):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    await ledger.grant(2_000)

    async def client(fate: str) -> int:
        charge = ledger.charge(40)
        try:
            await credit.reserve(charge)
        except InsufficientCredit:
            return 0
        if fate == "settle":
            await credit.settle(charge)
            return 40
        if fate == "release":
            await credit.release(charge)
        return 0

    fates = choose.choices(["settle", "release", "die"], k=60)
    work = [client(fate) for fate in fates] + [credit.reap() for _ in range(4)]
    done = await asyncio.gather(*work)
    await overdue(ledger.database)
    await credit.reap()
    assert await ledger.available() == 2_000 - sum(done[:60])
    assert (await ledger.balance()).reserved_nanos == 0
    assert await ledger.breaches() == []


async def test_promo_burns_before_paid_and_what_expires_first_before_the_rest(
    credit: TransactionalCredits, ledger: Ledger
):
    soon, later = (datetime.now(UTC) + timedelta(days=days) for days in (1, 9))
    await ledger.grant(100, kind="paid", source_ref="paid")
    await ledger.grant(100, source_ref="forever")
    await ledger.grant(100, source_ref="later", expires_at=later)
    await ledger.grant(100, source_ref="soon", expires_at=soon)
    left = []
    for _ in range(5):
        charge = ledger.charge(80)
        await credit.reserve(charge)
        await credit.settle(charge)
        lots = {lot.source_ref: lot.remaining_nanos for lot in (await ledger.balance()).lots}
        left.append([lots[ref] for ref in ("soon", "later", "forever", "paid")])
    assert left == [
        [20, 100, 100, 100],
        [0, 40, 100, 100],
        [0, 0, 60, 100],
        [0, 0, 0, 80],
        [0, 0, 0, 0],
    ]
    assert await ledger.breaches() == []


async def test_what_is_left_of_an_expired_lot_goes(credit: TransactionalCredits, ledger: Ledger):
    over = datetime.now(UTC) - timedelta(seconds=1)
    await ledger.grant(100, expires_at=over)
    await ledger.grant(50)
    charge = ledger.charge(80)
    await credit.reserve(charge)
    async with ledger.database.write() as connection:
        assert await grants.expire(connection, datetime.now(UTC)) == 0  # its credit is at work
    await credit.settle(charge)
    async with ledger.database.write() as connection:
        assert await grants.expire(connection, datetime.now(UTC)) == 1
    async with ledger.database.write() as connection:
        assert await grants.expire(connection, datetime.now(UTC)) == 0
    assert await ledger.available() == 50
    assert await ledger.breaches() == []


async def test_a_grant_is_granted_once_for_each_reference(ledger: Ledger):
    granted = await asyncio.gather(
        *(ledger.grant(100, source_ref="signup:ada@example.com") for _ in range(8))
    )
    assert sorted(granted) == [False] * 7 + [True]
    assert await ledger.available() == 100
    assert await ledger.breaches() == []


async def test_an_unreachable_database_is_503(ledger: Ledger, database: Database):
    await database.close()
    gone = TransactionalCredits(
        Database("postgresql://nobody@127.0.0.1:1/none"), reservation_seconds=120
    )
    with pytest.raises(CreditUnavailable):
        await gone.reserve(ledger.charge(8))
    with pytest.raises(CreditUnavailable):
        await gone.settle(ledger.charge(8))
    await gone.release(ledger.charge(8))  # left to the reaper, without an error


steps = st.lists(
    st.tuples(
        st.sampled_from(["grant", "reserve", "settle", "release", "die"]),
        st.integers(0, 20),
    ),
    max_size=30,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps)
async def test_any_order_of_steps_keeps_a_plain_model_and_the_books_in_step(
    sqlite_ledger: Ledger, steps: list[tuple[str, int]]
):
    ledger = sqlite_ledger
    credit = TransactionalCredits(ledger.database, reservation_seconds=120)
    available, open_charges = await ledger.available(), []
    for step, number in steps:
        match step:
            case "grant":
                await ledger.grant(number * 8 + 8)
                available += number * 8 + 8
            case "reserve":
                charge = ledger.charge(number * 8 + 8)
                if available >= charge.cost_nanos:
                    available -= charge.cost_nanos
                    assert await credit.reserve(charge) == available
                    open_charges.append(charge)
                else:
                    with pytest.raises(InsufficientCredit):
                        await credit.reserve(charge)
            case "settle" if open_charges:
                await credit.settle(open_charges.pop(number % len(open_charges)))
            case "release" if open_charges:
                charge = open_charges.pop(number % len(open_charges))
                await credit.release(charge)
                available += charge.cost_nanos
            case "die":
                await overdue(ledger.database)
                await credit.reap()
                available += sum(charge.cost_nanos for charge in open_charges)
                open_charges.clear()
        assert await ledger.available() == available
    assert await ledger.breaches() == []
    for charge in open_charges:
        await credit.release(charge)
