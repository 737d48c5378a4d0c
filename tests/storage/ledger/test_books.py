"""The platform's books: what a settled payment leaves in each account."""

from gateway.storage.ledger import books
from gateway.storage.ledger.books import NANOS_PER_CENT
from testing.gateways import Ledger
from testing.payments import Payment


async def test_the_platform_s_accounts_of_a_settled_payment(ledger: Ledger):
    payment = await Payment.create(ledger.database, ledger.organization_id, cents=10, tax_cents=2)
    await payment.receive(fee_cents=3)
    assert await cents(ledger) == {
        "receivable": 0,
        "tax_payable": 2,
        "stripe_clearing": -9,
        "stripe_fees": -3,
    }
    assert await ledger.breaches() == []
    await payment.refund(10, tax_cents=2)
    assert await cents(ledger) == {
        "receivable": 0,
        "tax_payable": 0,
        "stripe_clearing": 3,
        "stripe_fees": -3,
    }
    assert await ledger.breaches() == []


async def test_granted_credit_is_no_business_of_stripe(ledger: Ledger):
    await ledger.grant(3 * NANOS_PER_CENT, kind="paid")
    await ledger.grant(2 * NANOS_PER_CENT, kind="promo")
    assert await cents(ledger) == {"manual_adjustments": -3, "promo_expense": -2}


async def cents(ledger: Ledger) -> dict[str, int]:
    async with ledger.database.read() as connection:
        found = await books.balances(connection)
    return {name: nanos // NANOS_PER_CENT for name, nanos in found.items()}
