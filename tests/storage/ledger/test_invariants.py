"""Each invariant finds what breaks it: books cooked in every way that it guards against."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from gateway.storage.ledger import books, budgets
from gateway.storage.ledger.invariants import INVARIANTS
from testing.gateways import Ledger
from testing.ledger import running
from testing.payments import Payment

# what breaks each rule; SQLite lets a test switch its checks and triggers off
COOKED = {
    "balance-equals-ledger": "UPDATE accounts SET available_nanos = available_nanos + 1",
    "never-negative": "UPDATE accounts SET owed_nanos = 1 WHERE available_nanos > 0",
    "budget-adds-up": "UPDATE accounts SET limit_nanos = limit_nanos + 1 WHERE key_id IS NOT NULL",
    "leased-equals-leases": "UPDATE accounts SET leased_nanos = leased_nanos + 1",
    "closed-leases-are-posted": "UPDATE leases SET posted_nanos = 0",
    "lease-equals-usage": "UPDATE usage_events SET charged_nanos = 0",
    "postings-equal-ledger": "UPDATE leases SET posted_nanos = posted_nanos - 1",
    "direct-usage-is-entered-once": "UPDATE usage_events SET lease_id = NULL",
    "usage-has-an-owner": "UPDATE usage_events SET key_id = price_id",
    "hours-equal-usage": "UPDATE usage_hours SET tokens = tokens + 1",
    "days-equal-hours": "UPDATE usage_days SET day = date(day, '-1 day')",
    "all-sums-to-nothing": "DELETE FROM ledger_entries WHERE kind = 'grant'",
    "posted-within-received": "UPDATE payments SET received_cents = 1",
    "payments-equal-ledger": "UPDATE payments SET tax_posted_nanos = tax_posted_nanos - 1",
    "clearing-equals-stripe": "UPDATE stripe_transactions SET fee_cents = 0",
    "settled-payments-are-received": "DELETE FROM book_entries WHERE kind = 'tax'",
    "lots-equal-balance": "UPDATE credit_lots SET remaining_nanos = remaining_nanos - 1",
    "cost-is-tokens-times-price": "UPDATE usage_events SET tokens = tokens + 1",
}


def test_each_has_its_case():
    assert set(COOKED) == {invariant.name for invariant in INVARIANTS}


@pytest.mark.parametrize("name", COOKED)
async def test_it_finds_what_breaks_it(sqlite_ledger: Ledger, name: str, tmp_path: Path):
    ledger = sqlite_ledger
    await ledger.grant(1_000)
    payment = await Payment.create(ledger.database, ledger.organization_id, cents=10, tax_cents=2)
    await payment.receive(fee_cents=1)
    async with ledger.database.write() as connection:
        await budgets.set_budget(connection, ledger.key_id, 1_000, "total")
    async with running(ledger.database, tmp_path) as credit:
        for _ in range(3):
            charge = msgspec.structs.replace(ledger.charge(16), budget="total")
            await credit.reserve(charge)
            await credit.settle(charge)
    assert await ledger.breaches() == []
    async with ledger.database.write() as connection:
        triggers = await connection.execute(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        )
        for (trigger,) in triggers.all():
            await connection.execute(text(f"DROP TRIGGER {trigger}"))
        await connection.execute(text("PRAGMA ignore_check_constraints = ON"))
        await connection.execute(text(COOKED[name]))
    assert name in await ledger.breaches()


async def test_a_payment_is_not_settled_before_it_is_in_stripes_balance(ledger: Ledger):
    payment = await Payment.create(
        ledger.database, ledger.organization_id, cents=10, tax_cents=2, is_received=True
    )
    await payment.post(10, 2)
    async with ledger.database.write() as connection:
        await connection.execute(text("UPDATE payments SET state = 'paid'"))

    assert await ledger.breaches() == []


async def test_more_may_go_back_than_came_in(ledger: Ledger):
    payment = await Payment.create(ledger.database, ledger.organization_id, cents=10, tax_cents=2)
    await payment.receive()
    await payment.refund(10, tax_cents=2)
    async with ledger.database.write() as connection:  # a bank takes the money once more
        lost = books.Transaction(
            id="txn_lost", type="adjustment", gross_cents=-12, fee_cents=15,
            created_at=datetime.now(UTC),
        )  # fmt: skip
        await books.post_transaction(connection, payment.id, lost)
    assert await ledger.breaches() == ["settled-payments-are-received"]

    async with ledger.database.write() as connection:
        await connection.execute(
            text("UPDATE payments SET refunded_cents = 12, disputed_cents = 12")
        )

    assert await ledger.breaches() == []
