"""Freezes: each is lifted by its own cause only, and nothing is used while there is one."""

import asyncio
from typing import get_args

import pytest
from sqlalchemy import update

from gateway.data_plane.metering.leases import LeaseRules
from gateway.data_plane.metering.port import (
    AccountDisputed,
    AccountOwing,
    AccountSuspended,
    AccountUnderReview,
    BudgetExceeded,
    ReservationExpired,
)
from gateway.storage.database import Database
from gateway.storage.ledger import budgets, freezes
from gateway.storage.ledger.books import NANOS_PER_CENT
from gateway.storage.tables import accounts
from testing.gateways import Ledger
from testing.ledger import NANOS_PER_TOKEN, add_credit, add_customer, assert_sound, running
from testing.payments import Payment


async def freeze(ledger: Ledger, *args, **options) -> bool:
    async with ledger.database.write() as connection:
        return await freezes.freeze(connection, ledger.organization_id, *args, **options)


async def lift(ledger: Ledger, *args, **options) -> bool:
    async with ledger.database.write() as connection:
        return await freezes.lift(connection, ledger.organization_id, *args, **options)


async def causes(ledger: Ledger) -> list[str]:
    async with ledger.database.read() as connection:
        found = await freezes.causes(connection, ledger.organization_id)
    assert (await ledger.balance()).frozen_by == found
    return found


async def test_each_cause_is_lifted_by_itself_alone(ledger: Ledger):
    assert await freeze(ledger, "dispute", ref="payment-1")
    assert await freeze(ledger, "dispute", ref="payment-2")
    assert await freeze(ledger, "operator", reason="spam")
    assert await freeze(ledger, "books", ref="audit")
    assert await causes(ledger) == ["books", "operator", "dispute"]
    await ledger.grant(10**9)
    assert await causes(ledger) == ["books", "operator", "dispute"], "no credit lifts them"
    assert await lift(ledger, "books", ref="audit")
    assert not await lift(ledger, "books", ref="audit")
    assert await lift(ledger, "dispute", ref="payment-1")
    assert await causes(ledger) == ["operator", "dispute"]
    assert await lift(ledger, "operator")
    assert await causes(ledger) == ["dispute"]
    assert await lift(ledger, "dispute", ref="payment-2")
    assert await causes(ledger) == []


async def test_the_first_reason_stays(ledger: Ledger):
    assert await freeze(ledger, "operator", reason="spam")
    assert not await freeze(ledger, "operator", reason="other")
    async with ledger.database.read() as connection:
        (row,) = await freezes.of_account(connection, ledger.organization_id)
    assert (row.cause, row.ref, row.reason) == ("operator", "", "spam")


async def spend(engine, customer, tokens: int, budget=None) -> None:
    charge = customer.charge(tokens, budget=budget)
    await engine.reserve(charge)
    await engine.settle(charge)


async def test_a_payment_that_went_back_is_owed_and_the_next_one_pays_it(
    database: Database, tmp_path
):
    customer = await add_customer(database)
    cents = NANOS_PER_CENT // NANOS_PER_TOKEN  # in tokens
    payment = await Payment.create(database, customer.organization_id, cents=2)
    await payment.receive()
    async with running(database, tmp_path) as engine:
        await spend(engine, customer, cents)
    await payment.refund(2)
    await assert_sound(database)
    async with running(database, tmp_path) as engine:
        with pytest.raises(AccountOwing) as refused:
            await engine.reserve(customer.charge(1))
        assert (refused.value.status, refused.value.code) == (402, "account_owing")
        await add_credit(database, customer, cents + 60)
        charge = customer.charge(10)
        await engine.reserve(charge)
        await engine.settle(charge)
    await assert_sound(database)
    with pytest.raises(ReservationExpired):
        async with running(database, tmp_path) as engine:
            await engine.settle(charge)


async def test_a_debt_of_one_nano_dollar_is_a_debt(database: Database, tmp_path):
    customer = await add_customer(database)
    async with database.write() as connection:
        await connection.execute(update(accounts).values(owed_nanos=1))
    async with running(database, tmp_path) as engine:
        with pytest.raises(AccountOwing):
            await engine.reserve(customer.charge(1))


async def test_a_debt_that_returned_credit_pays_refuses_nobody(database: Database, tmp_path):
    """Two processes hold all the credit when a little of it goes back."""
    customer = await add_customer(database, 500)
    payment = await Payment.create(database, customer.organization_id, cents=1, is_received=True)
    async with database.write() as connection:
        await payment.post_nanos(connection, 500 * NANOS_PER_TOKEN)
    slow = LeaseRules(recall_seconds=20)  # for a machine on which a tick takes seconds
    async with (
        running(database, tmp_path, leases=slow) as first,
        running(database, tmp_path, leases=slow) as second,
    ):
        held = [customer.charge(500), customer.charge(500)]
        for engine, charge in zip((first, second), held, strict=True):
            await engine.reserve(charge)
        for engine, charge in zip((first, second), held, strict=True):
            await engine.release(charge)
        async with database.write() as connection:
            await payment.post_nanos(connection, 400 * NANOS_PER_TOKEN)
        await spend(first, customer, 890)
    await assert_sound(database)


@pytest.mark.parametrize("cause", get_args(freezes.StoredCause))
async def test_a_frozen_account_uses_nothing_until_its_cause_lifts_it(
    database: Database, tmp_path, cause: freezes.StoredCause
):
    error = {
        "books": AccountUnderReview, "operator": AccountSuspended, "dispute": AccountDisputed,
    }[cause]  # fmt: skip
    customer = await add_customer(database, 1000)
    async with running(database, tmp_path) as engine:
        await spend(engine, customer, 10)
        in_use = customer.charge(20)
        await engine.reserve(in_use)
        async with database.write() as connection:
            await freezes.freeze(connection, customer.organization_id, cause)
        lease = engine.book.purses[customer.organization_id].lease
        async with asyncio.timeout(20):
            while lease.free:
                await asyncio.sleep(0.005)
        with pytest.raises(error):
            await engine.reserve(customer.charge(1))
        await engine.settle(in_use)  # what began before is charged
        await assert_sound(database)
        async with database.write() as connection:
            await freezes.lift(connection, customer.organization_id, cause)
        await spend(engine, customer, 970)
    await assert_sound(database)


async def test_a_budget_that_owes_is_exceeded_not_frozen(database: Database, tmp_path):
    customer = await add_customer(database, 1000)
    async with database.write() as connection:
        await budgets.set_budget(connection, customer.key_id, 100 * NANOS_PER_TOKEN, "total")
    async with running(database, tmp_path) as engine:
        await spend(engine, customer, 50, "total")
        async with database.write() as connection:
            await budgets.set_budget(connection, customer.key_id, 20 * NANOS_PER_TOKEN, "total")
        with pytest.raises(BudgetExceeded, match="has 0 left"):
            await spend(engine, customer, 60, "total")
        await assert_sound(database)
        async with database.write() as connection:
            await budgets.set_budget(connection, customer.key_id, 60 * NANOS_PER_TOKEN, "total")
        await spend(engine, customer, 10, "total")
    await assert_sound(database)
