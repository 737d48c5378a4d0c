"""The job that audits: whose balance is wrong is frozen until an audit finds it right."""

from sqlalchemy import text

from gateway.control_plane.billing.audit import audit
from gateway.storage.ledger import budgets
from testing.gateways import Ledger


async def test_a_wrong_balance_is_frozen_until_it_is_right(ledger: Ledger):
    other = await Ledger.create(ledger.database, 1_000)
    await ledger.grant(1_000)
    async with ledger.database.write() as connection:
        await budgets.set_budget(connection, ledger.key_id, 500, "total")
    await audit(ledger.database)
    assert (await ledger.balance()).frozen_by == []
    for more, frozen in ((1, ["books"]), (0, ["books"]), (-1, [])):
        async with ledger.database.write() as connection:
            await connection.execute(
                text(
                    f"UPDATE accounts SET available_nanos = available_nanos + {more} "
                    f"WHERE id = '{ledger.organization_id}'"
                )
            )
        await audit(ledger.database)
        assert (await ledger.balance()).frozen_by == frozen
        assert (await other.balance()).frozen_by == []


async def test_a_key_s_budget_is_no_organization(ledger: Ledger):
    async with ledger.database.write() as connection:
        await budgets.set_budget(connection, ledger.key_id, 500, "total")
        await connection.execute(
            text("UPDATE accounts SET owed_nanos = 1 WHERE key_id IS NOT NULL")
        )
    await audit(ledger.database)
    assert (await ledger.balance()).frozen_by == []
