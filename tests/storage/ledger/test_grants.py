"""Credit coming in once, burning in order, expiring, and coming back from dead processes."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import func, select

from gateway.data_plane.metering.leases import LeaseRules
from gateway.data_plane.metering.port import InsufficientCredit
from gateway.storage.ledger import grants, upkeep
from gateway.storage.ledger.upkeep import reap
from gateway.storage.tables import accounts, credit_lots, ledger_entries
from testing.gateways import Ledger
from testing.ledger import running

LONG_AGO = timedelta(minutes=1)


async def spend(credit, ledger: Ledger, nanos: int) -> None:
    charge = ledger.charge(nanos)
    await credit.reserve(charge)
    await credit.settle(charge)


async def test_promo_burns_first_then_what_expires_first_then_the_oldest(
    ledger: Ledger, tmp_path: Path
):
    soon, later = (datetime.now(UTC) + timedelta(days=days) for days in (1, 9))
    await ledger.grant(100, kind="paid", source_ref="paid")
    await ledger.grant(100, source_ref="forever")
    await ledger.grant(100, source_ref="later", expires_at=later)
    await ledger.grant(100, source_ref="soon", expires_at=soon)
    left = []
    for _ in range(5):
        async with running(ledger.database, tmp_path) as credit:
            await spend(credit, ledger, 80)
        lots = {lot.source_ref: lot.remaining_nanos for lot in (await ledger.balance()).lots}
        left.append([lots.get(ref, 0) for ref in ("soon", "later", "forever", "paid")])
    assert left == [
        [20, 100, 100, 100],
        [0, 40, 100, 100],
        [0, 0, 60, 100],
        [0, 0, 0, 80],
        [0, 0, 0, 0],
    ]
    assert await ledger.breaches() == []


async def test_what_expires_while_a_lease_holds_it_is_recalled(ledger: Ledger, tmp_path: Path):
    soon = datetime.now(UTC) + timedelta(hours=1)
    await ledger.grant(80, expires_at=soon)
    later = soon + timedelta(hours=1)
    async with running(ledger.database, tmp_path) as credit:
        charge = ledger.charge(8)
        await credit.reserve(charge)
        assert await grants.expire(ledger.database, later) == 0
        async with ledger.database.read() as connection:
            assert await connection.scalar(select(accounts.c.recalled_at)) == later
        await credit.release(charge)
    assert await grants.expire(ledger.database, later) == 1
    assert await ledger.breaches() == []


async def test_what_was_spent_from_a_lot_can_t_be_taken_back(ledger: Ledger, tmp_path: Path):
    """Not even while a lease has yet to post it."""
    await ledger.grant(80)
    (lot,) = (await ledger.balance()).lots
    async with running(ledger.database, tmp_path) as credit:
        await spend(credit, ledger, 80)
        async with ledger.database.write() as connection:
            with pytest.raises(grants.LotHasLess):
                await grants.take(connection, ledger.organization_id, lot.id, 8, reason="a test")
    assert await ledger.breaches() == []


async def test_what_is_left_of_the_lots_is_the_balance_at_every_moment(
    ledger: Ledger, tmp_path: Path
):
    await ledger.grant(100, kind="paid", source_ref="paid")
    await ledger.grant(60, source_ref="promo")
    seen = []
    async with running(ledger.database, tmp_path) as credit:
        for _ in range(3):
            await spend(credit, ledger, 40)  # of what is leased: posted when it is given back
            balance = await ledger.balance()
            seen.append({lot.source_ref: lot.remaining_nanos for lot in balance.lots})
            assert balance.available_nanos == sum(lot.remaining_nanos for lot in balance.lots)
    assert seen == [{"promo": 20, "paid": 100}, {"paid": 80}, {"paid": 40}]
    lots = (await ledger.balance()).lots
    assert [(lot.source_ref, lot.remaining_nanos) for lot in lots] == [("paid", 40)]


async def test_what_is_left_of_an_expired_lot_goes_to_breakage(ledger: Ledger, tmp_path: Path):
    await ledger.grant(100, expires_at=datetime.now(UTC) - LONG_AGO)
    await ledger.grant(56)
    async with running(ledger.database, tmp_path) as credit:
        charge = ledger.charge(80)
        await credit.reserve(charge)
        assert await grants.expire(ledger.database) == 0  # its credit is at work
        await credit.settle(charge)
    assert await grants.expire(ledger.database) == 1
    assert await grants.expire(ledger.database) == 0
    assert await ledger.available() == 56
    query = select(func.sum(ledger_entries.c.amount_nanos)).where(
        ledger_entries.c.counterpart == "breakage"
    )
    async with ledger.database.read() as connection:
        assert await connection.scalar(query) == -20
    assert await ledger.breaches() == []


async def test_what_was_spent_before_the_expiry_burns_the_lot(ledger: Ledger, tmp_path: Path):
    await ledger.grant(96, expires_at=datetime.now(UTC) - LONG_AGO)
    await ledger.grant(1_000, kind="paid")
    rules = LeaseRules(slice_nanos=8)
    async with running(ledger.database, tmp_path, leases=rules) as credit:
        await spend(credit, ledger, 40)  # in the usage rows, not yet in the ledger
        await grants.expire(ledger.database)
        assert await ledger.breaches() == []
    assert await ledger.available() == 1_000
    assert await ledger.breaches() == []


async def test_a_grant_is_granted_once_for_each_reference(ledger: Ledger):
    granted = await asyncio.gather(
        *(ledger.grant(100, source_ref="signup:ada@example.com") for _ in range(8))
    )
    assert sorted(granted) == [False] * 7 + [True]
    assert await ledger.available() == 100
    assert await ledger.breaches() == []


async def test_who_names_what_is_taken_back_takes_it_once(ledger: Ledger):
    await ledger.grant(100, source_ref="sign-up")

    async def take(nanos: int) -> bool:
        async with ledger.database.write() as connection:
            lot_id = await connection.scalar(select(credit_lots.c.id))
            return await grants.take(
                connection, ledger.organization_id, lot_id, nanos, reason="spam", ref="case-1"
            )

    assert [await take(40), await take(40)] == [True, False]
    assert await ledger.available() == 60
    with pytest.raises(grants.TakenOtherwise):
        await take(30)
    assert await ledger.available() == 60
    assert await ledger.breaches() == []


async def test_leases_that_are_closed_take_no_place_of_one_that_is_overdue(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(upkeep, "_REAP_AT_ONCE", 1)
    await ledger.grant(100)
    for _ in range(2):
        async with running(ledger.database, tmp_path) as credit:
            await spend(credit, ledger, 8)  # and the lease is closed at the end
    async with running(ledger.database, tmp_path) as credit:
        await credit.reserve(ledger.charge(8))
        assert await reap(ledger.database, at=datetime.now(UTC) + timedelta(minutes=5)) == 1


async def test_the_credit_of_a_dead_process_goes_back(ledger: Ledger, tmp_path: Path):
    await ledger.grant(100)
    rules = LeaseRules(lease_seconds=1, margin_seconds=0.5, renew_seconds=0, idle_seconds=60)
    async with running(ledger.database, tmp_path, leases=rules) as credit:
        await spend(credit, ledger, 40)
        late = ledger.charge(40)
        await credit.reserve(late)
        assert await reap(ledger.database) == 0
        soon = datetime.now(UTC) + timedelta(seconds=60)
        assert await reap(ledger.database, at=soon) == 1
        balance = await ledger.balance()
        assert (balance.available_nanos, balance.reserved_nanos) == (60, 0)
        await credit.settle(late)  # its lease is gone, but the account can pay
        assert await ledger.available() == 20
        assert await ledger.breaches() == []
    assert await ledger.breaches() == []


async def test_an_answer_that_came_too_late_for_its_credit_is_refused(
    ledger: Ledger, tmp_path: Path
):
    await ledger.grant(40)
    async with (
        running(ledger.database, tmp_path) as paused,
        running(ledger.database, tmp_path) as other,
    ):
        late = ledger.charge(40)
        await paused.reserve(late)
        await reap(ledger.database, at=datetime.now(UTC) + timedelta(minutes=5))
        await spend(other, ledger, 40)
        with pytest.raises(Exception, match="took too long; nothing was charged"):
            await paused.settle(late)
    assert [row.charged_nanos for row in await ledger.usage()] == [40]
    assert await ledger.breaches() == []


@pytest.mark.parametrize("processes", [1, 2, 4])
async def test_near_zero_nothing_is_stranded_and_nothing_overspent(
    ledger: Ledger, tmp_path: Path, processes: int
):
    """The total spent is the credit to within one request, so no refusal came too early."""
    cost, requests = 24, 40
    await ledger.grant(cost * requests + 16)

    async def client(credit) -> int:
        served = 0
        while True:
            try:
                await spend(credit, ledger, cost)
            except InsufficientCredit:
                return served
            served += 1

    async with AsyncExitStack() as stack:
        credits_ = [
            await stack.enter_async_context(running(ledger.database, tmp_path))
            for _ in range(processes)
        ]
        for credit in credits_:  # so that each holds more than it needs
            await spend(credit, ledger, cost)
        served = [processes, *await asyncio.gather(*(client(credits_[0]) for _ in range(3)))]
    assert sum(served) == requests
    assert await ledger.available() == 16
    assert await ledger.breaches() == []


async def test_a_budget_is_one_key_s_alone(ledger: Ledger, tmp_path: Path):
    await ledger.grant(1_000)
    async with running(ledger.database, tmp_path) as credit:
        unlimited = ledger.charge(80)
        await credit.reserve(unlimited)
        await credit.settle(unlimited)
        unknown = msgspec.structs.replace(ledger.charge(8), budget="month")
        with pytest.raises(InsufficientCredit, match="budget"):
            await credit.reserve(unknown)
    assert await ledger.breaches() == []
