"""The locks that moves of money rely on; SQLite has one writer and needs none."""

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from gateway.storage.ledger import postings
from gateway.storage.tables import accounts
from testing.gateways import Ledger


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_who_decides_on_an_account_holds_it(ledger: Ledger):
    """Two reversals, expiries or budgets at once would both take what is there once."""
    own = select(accounts).where(accounts.c.id == ledger.organization_id)
    async with ledger.database.write() as holder:
        await postings.lock_account(holder, ledger.organization_id)
        async with ledger.database.read() as other:
            with pytest.raises(DBAPIError, match="could not obtain lock"):
                await other.execute(own.with_for_update(nowait=True, key_share=True))
