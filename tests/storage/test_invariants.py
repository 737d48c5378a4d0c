"""Each invariant finds what breaks it: books cooked in every way that it guards against."""

import pytest
from sqlalchemy import text

from gateway.storage.ledger.invariants import INVARIANTS
from gateway.storage.ledger.transactional import TransactionalCredits
from tests.support.gateways import Ledger

# what breaks each rule; SQLite lets a test switch its checks and triggers off
COOKED = {
    "balance-equals-ledger": "UPDATE accounts SET available_nanos = available_nanos + 1",
    "never-negative": "UPDATE accounts SET available_nanos = -1",
    "reserved-equals-reservations": "UPDATE accounts SET reserved_nanos = reserved_nanos + 1",
    "lots-equal-balance": "UPDATE credit_lots SET remaining_nanos = remaining_nanos - 1",
    "usage-is-charged-once": "DELETE FROM ledger_entries WHERE kind = 'usage'",
    "charges-have-usage": "DELETE FROM usage_events",
    "cost-is-tokens-times-price": "UPDATE usage_events SET tokens = tokens + 1",
    "settled-is-not-reserved": (
        "INSERT INTO reservations SELECT request_id, organization_id, 0, created_at "
        "FROM usage_events"
    ),
}


def test_each_has_its_case():
    assert set(COOKED) == {invariant.name for invariant in INVARIANTS}


@pytest.mark.parametrize("name", COOKED)
async def test_it_finds_what_breaks_it(sqlite_ledger: Ledger, name: str):
    ledger = sqlite_ledger
    credit = TransactionalCredits(ledger.database, reservation_seconds=120)
    await ledger.grant(1_000)
    for _ in range(3):
        charge = ledger.charge(16)
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
