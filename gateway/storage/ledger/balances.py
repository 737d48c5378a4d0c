"""What an account has, as an expression for queries over `accounts`."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select

from gateway.storage.tables import accounts, leases, total


def leased_unspent() -> ColumnElement[int]:
    """Return what processes hold of an account and have not spent, in nano-dollars.

    What open leases have spent is no longer there, though the ledger has not seen it.
    """
    unposted = (
        select(total(leases.c.spent_nanos - leases.c.posted_nanos))
        .where(leases.c.account_id == accounts.c.id, leases.c.state == "open")
        .correlate(accounts)
        .scalar_subquery()
    )
    return accounts.c.leased_nanos - unposted
