"""What an account has, as an expression for queries over `accounts`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func, select

from gateway.storage.tables import accounts, leases


def leased_unspent() -> ColumnElement[Any]:
    """Return what processes hold of an account and have not spent, in nano-dollars.

    What open leases have spent is no longer there, though the ledger has not seen it.
    """
    unposted = (
        select(func.coalesce(func.sum(leases.c.spent_nanos - leases.c.posted_nanos), 0))
        .where(leases.c.account_id == accounts.c.id, leases.c.state == "open")
        .correlate(accounts)
        .scalar_subquery()
    )
    return accounts.c.leased_nanos - unposted
