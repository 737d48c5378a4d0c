"""Changes of keys in the audit trail. A change that nobody answers for is not recorded.

Names of keys are people's own words, so they stay out of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.trail.entries import Actor, record
from gateway.storage.ledger.budgets import Budget


class Doer(msgspec.Struct, frozen=True):
    """Who changes a key, and why."""

    actor: Actor
    reason: str = ""


async def created(
    connection: AsyncConnection,
    doer: Doer | None,
    organization_id: str,
    key_id: str,
    expires_at: datetime | None,
    budget: Budget | None,
) -> None:
    """Record a new key."""
    after = {"expires_on": expires_at.date().isoformat() if expires_at else None} | _limits(budget)
    await _record(connection, doer, "key.created", organization_id, key_id, {}, after)


async def changed(
    connection: AsyncConnection,
    doer: Doer | None,
    organization_id: str,
    key_id: str,
    before: Budget | None,
    after: Budget | None,
) -> None:
    """Record that a key's settings changed, with its budget."""
    old, new = _limits(before), _limits(after)
    await _record(connection, doer, "key.changed", organization_id, key_id, old, new)


async def revoked(
    connection: AsyncConnection, doer: Doer | None, organization_id: str, key_id: str
) -> None:
    """Record that a key was revoked."""
    old, new = {"state": "in use"}, {"state": "revoked"}
    await _record(connection, doer, "key.revoked", organization_id, key_id, old, new)


async def _record(
    connection: AsyncConnection,
    doer: Doer | None,
    action: str,
    organization_id: str,
    key_id: str,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    if doer is not None:
        await record(
            connection,
            doer.actor,
            action,
            f"key:{key_id}",
            organization_id=organization_id,
            before=before,
            after=after,
            reason=doer.reason,
        )


def _limits(budget: Budget | None) -> dict[str, Any]:
    if budget is None:
        return {"budget_nanos": None, "period": None}
    return {"budget_nanos": budget.limit_nanos, "period": budget.period}
