"""Credit of payments: posted and taken back in any order, debts first, lots that add up."""

from pathlib import Path

from sqlalchemy import select

from gateway.data_plane.metering.leases import LeaseRules
from gateway.storage.ledger.books import NANOS_PER_CENT
from gateway.storage.tables import accounts, ledger_entries
from testing.gateways import Ledger
from testing.ledger import running
from testing.payments import Payment

CENT = NANOS_PER_CENT
SILENT = LeaseRules(idle_seconds=60, heartbeat_seconds=60)
"""A process that hears of nothing until it is closed."""


async def bought(ledger: Ledger, cents: int) -> Payment:
    payment = await Payment.create(ledger.database, ledger.organization_id, cents=cents)
    await payment.receive()
    return payment


async def lots(ledger: Ledger) -> dict[str, int]:
    """What is left of each lot, in cents."""
    return {lot.source_ref: lot.remaining_nanos // CENT for lot in (await ledger.balance()).lots}


async def test_a_payment_posts_the_difference_once_for_each_number(ledger: Ledger):
    payment = await Payment.create(ledger.database, ledger.organization_id, cents=10)
    for cents in (0, 10, 10, 4, 7):
        await payment.post(cents)
    entry = ledger_entries.c
    query = select(entry.kind, entry.ref, entry.amount_nanos, entry.counterpart).order_by(entry.id)
    async with ledger.database.read() as connection:
        found = [tuple(row) for row in await connection.execute(query)]
    assert found == [
        ("topup", f"{payment.id}:2", 10 * CENT, "receivable"),
        ("reversal", f"{payment.id}:4", -6 * CENT, "receivable"),
        ("topup", f"{payment.id}:5", 3 * CENT, "receivable"),
    ]
    (lot,) = (await ledger.balance()).lots
    assert (lot.kind, lot.source_ref) == ("paid", f"payment:{payment.id}")
    assert (lot.amount_nanos, lot.remaining_nanos) == (10 * CENT, 7 * CENT)


async def test_what_is_spent_is_owed_and_paid_by_what_comes_next(ledger: Ledger, tmp_path: Path):
    payment = await bought(ledger, 1)
    async with running(ledger.database, tmp_path) as credit:
        charge = ledger.charge(CENT * 6 // 10)
        await credit.reserve(charge)
        await credit.settle(charge)
    await payment.refund(1)
    balance = await ledger.balance()
    assert (balance.available_nanos, balance.owed_nanos) == (0, CENT * 6 // 10)
    assert balance.frozen_by == ["owing"]
    await bought(ledger, 2)
    balance = await ledger.balance()
    assert (balance.available_nanos, balance.owed_nanos) == (CENT * 14 // 10, 0)
    assert balance.frozen_by == []
    assert await ledger.breaches() == []


async def test_what_is_owed_is_not_shown_as_available_too(ledger: Ledger, tmp_path: Path):
    """A process holds all of it, of which a part is owed now."""
    oldest, newest = [await bought(ledger, cents) for cents in (2, 3)]
    await ledger.grant(CENT, kind="promo", source_ref="promo")
    async with running(ledger.database, tmp_path, leases=SILENT) as credit:
        whole = ledger.charge(6 * CENT)
        await credit.reserve(whole)
        await oldest.post(0)
        balance = await ledger.balance()
        assert (balance.available_nanos, balance.owed_nanos) == (4 * CENT, 0)
        assert balance.reserved_nanos == 4 * CENT
        left = {"promo": 1, f"payment:{oldest.id}": 2, f"payment:{newest.id}": 1}
        assert await lots(ledger) == left, "as debts are paid: bought credit first, newest first"
        await credit.release(whole)
    balance = await ledger.balance()
    assert (balance.available_nanos, balance.owed_nanos) == (4 * CENT, 0)
    assert await lots(ledger) == left


async def test_a_debt_that_other_credit_paid_comes_back_as_that_credit(
    ledger: Ledger, tmp_path: Path
):
    """The lot of a payment that was reversed while a process held it has no room for it again."""
    payment = await bought(ledger, 1)
    async with running(ledger.database, tmp_path, leases=SILENT) as credit:
        whole = ledger.charge(CENT)
        await credit.reserve(whole)
        await payment.post(0)
        assert await owed(ledger) == CENT
        balance = await ledger.balance()
        assert (balance.available_nanos, balance.reserved_nanos, balance.owed_nanos) == (0, 0, 0)
        assert balance.lots == [], "it goes back when it is returned"
        await ledger.grant(CENT, kind="paid", source_ref="transfer")
        assert await lots(ledger) == {f"payment:{payment.id}": 1}, "what is reserved is theirs"
        await payment.post(1)
        assert await lots(ledger) == {"transfer": 1, f"payment:{payment.id}": 1}
        await credit.release(whole)
    assert (await ledger.balance()).owed_nanos == 0


async def test_a_reversal_burns_its_own_lot_then_what_was_bought_last(ledger: Ledger):
    oldest, middle, newest = [await bought(ledger, cents) for cents in (3, 4, 5)]
    await ledger.grant(CENT, kind="promo", source_ref="promo")
    names = [f"payment:{one.id}" for one in (middle, newest)]
    await oldest.refund(3)
    assert await lots(ledger) == {"promo": 1, names[0]: 4, names[1]: 5}
    await newest.refund(5)
    await newest.post(5)
    assert await lots(ledger) == {"promo": 1, names[0]: 4, names[1]: 5}


async def test_returned_credit_pays_the_debt_before_it_is_available(ledger: Ledger, tmp_path: Path):
    payment = await bought(ledger, 2)
    await ledger.grant(CENT, kind="promo", source_ref="promo")
    async with running(ledger.database, tmp_path, leases=SILENT) as credit:
        reserved = ledger.charge(3 * CENT)
        await credit.reserve(reserved)
        await payment.refund(2)
        assert await owed(ledger) == 2 * CENT
        assert await ledger.breaches() == []
        await credit.release(reserved)  # and the engine gives its lease back when it ends
    balance = await ledger.balance()
    assert (balance.available_nanos, balance.owed_nanos, balance.frozen_by) == (CENT, 0, [])
    assert await lots(ledger) == {"promo": 1}, "what was bought pays first"
    assert await ledger.breaches() == []


async def owed(ledger: Ledger) -> int | None:
    """Return what the account owes, whatever processes hold of it."""
    query = select(accounts.c.owed_nanos).where(accounts.c.id == ledger.organization_id)
    async with ledger.database.read() as connection:
        return await connection.scalar(query)


async def test_who_holds_what_a_refund_takes_is_asked_to_return_it(ledger: Ledger, tmp_path: Path):
    payment = await bought(ledger, 1)
    async with running(ledger.database, tmp_path, leases=SILENT) as credit:
        charge = ledger.charge(CENT)
        await credit.reserve(charge)
        async with ledger.database.read() as connection:
            assert await connection.scalar(select(accounts.c.recalled_at)) is None
        await payment.refund(1)
        async with ledger.database.read() as connection:
            assert await connection.scalar(select(accounts.c.recalled_at)) is not None
        await credit.release(charge)
