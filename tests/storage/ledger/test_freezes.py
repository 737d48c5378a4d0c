"""Freezes: each is lifted by its own cause only, and the first of several is told."""

from gateway.storage.ledger import freezes
from testing.gateways import Ledger


async def freeze(ledger: Ledger, *args, **options) -> bool:
    async with ledger.database.write() as connection:
        return await freezes.freeze(connection, ledger.organization_id, *args, **options)


async def lift(ledger: Ledger, *args, **options) -> bool:
    async with ledger.database.write() as connection:
        return await freezes.lift(connection, ledger.organization_id, *args, **options)


async def causes(ledger: Ledger) -> list[str]:
    async with ledger.database.read() as connection:
        found = await freezes.causes(connection, ledger.organization_id)
    assert (await ledger.balance()).frozen == found
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
