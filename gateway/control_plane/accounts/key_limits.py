"""How many keys an organization may have, and what a key may do and spend."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.errors import BadRequest
from gateway.snapshots import SCOPES, Scope
from gateway.storage.ledger import budgets
from gateway.storage.ledger.budgets import Budget
from gateway.storage.tables import NANOS_MAX, api_keys, key_budgets


class TooManyKeys(BadRequest):
    """The organization has, or made today, as many keys as it may."""

    code = "too_many_keys"


class KeyLimits(NamedTuple):
    """What a key may spend and do."""

    budget: Budget | None
    scopes: str
    """Names, separated by spaces."""


async def check_room(connection: AsyncConnection, organization_id: str, keys_max: int) -> None:
    """Check that one more key may be made. Raises TooManyKeys."""
    day = wall.now() - timedelta(days=1)
    query = select(
        func.count().filter(api_keys.c.revoked_at.is_(None)),
        func.count().filter(api_keys.c.created_at > day),
    ).where(api_keys.c.organization_id == organization_id)
    used, made = (await connection.execute(query)).one()
    if used >= keys_max:
        raise TooManyKeys(f"An organization can have at most {keys_max} keys. Revoke one first.")
    if made >= keys_max:
        raise TooManyKeys(f"An organization can create at most {keys_max} keys a day.")


def checked_scopes(scopes: Sequence[Scope]) -> str:
    """Return scopes as they are stored. Raises BadRequest if there is none."""
    if not scopes:
        raise BadRequest("A key needs a scope: embed, read or both.", param="scopes")
    return " ".join(scope for scope in SCOPES if scope in scopes)


def check_budget(limit_nanos: int) -> None:
    """Check a budget's amount. Raises BadRequest."""
    if not 1 <= limit_nanos <= NANOS_MAX:
        most = NANOS_MAX // 10**9
        raise BadRequest(
            f"A budget must be above zero and at most ${most:,}. To stop a key, revoke it.",
            param="budget",
        )


async def budget_of(connection: AsyncConnection, key_id: str) -> Budget | None:
    """Return a key's budget, without what it has spent; None if it has none."""
    query = select(key_budgets.c.limit_nanos, key_budgets.c.period)
    row = (await connection.execute(query.where(key_budgets.c.key_id == key_id))).one_or_none()
    return Budget(limit_nanos=row.limit_nanos, period=row.period) if row else None


async def set_budget(connection: AsyncConnection, key_id: str, budget: Budget | None) -> None:
    """Set a key's budget, or remove it."""
    if budget is None:
        await budgets.remove_budget(connection, key_id)
    else:
        await budgets.set_budget(connection, key_id, budget.limit_nanos, budget.period)
