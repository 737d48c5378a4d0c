"""Changes of keys in the audit trail. A change that nobody answers for is not recorded.

Names of keys are people's own words, so they stay out of it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.key_limits import KeyLimits
from gateway.control_plane.trail.entries import Actor, record


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
    limits: KeyLimits,
) -> None:
    """Record a new key."""
    after = {"expires_on": expires_at.date().isoformat() if expires_at else None} | _limits(limits)
    await _record(connection, doer, "key.created", organization_id, key_id, {}, after)


async def changed(
    connection: AsyncConnection,
    doer: Doer | None,
    organization_id: str,
    key_id: str,
    before: KeyLimits,
    after: KeyLimits,
) -> None:
    """Record that a key's settings changed, with what it may do and spend."""
    old, new = _limits(before), _limits(after)
    await _record(connection, doer, "key.changed", organization_id, key_id, old, new)


async def rotated(
    connection: AsyncConnection,
    doer: Doer | None,
    organization_id: str,
    key_id: str,
    overlap: timedelta,
) -> None:
    """Record that a key got a new secret, and how long the one before still works."""
    after = {"overlap_hours": overlap // timedelta(hours=1)}
    await _record(connection, doer, "key.rotated", organization_id, key_id, {}, after)


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


def _limits(limits: KeyLimits) -> dict[str, Any]:
    budget = limits.budget
    if budget is None:
        return {"scopes": limits.scopes, "budget_nanos": None, "period": None}
    return {
        "scopes": limits.scopes,
        "budget_nanos": budget.limit_nanos,
        "period": budget.period,
    }
