"""What we hold about a person: given to them, and forgotten when they ask.

Forgetting empties the address and ends sessions, votes, waitlist entries and memberships; keys of
organizations that nobody is left in are revoked. The books stay as they are: they name
organizations, never people.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import identities, sessions
from gateway.control_plane.accounts import memberships as members
from gateway.control_plane.accounts.memberships import LastOwner
from gateway.control_plane.accounts.sessions import Visitor
from gateway.storage.tables import (
    api_keys,
    demand_votes,
    mail_links,
    memberships,
    outbox,
    users,
    waitlist_entries,
)


async def export(connection: AsyncConnection, visitor: Visitor) -> dict[str, Any]:
    """Return everything that is kept about a person."""
    mine = demand_votes.c.user_id == visitor.user_id
    waits = waitlist_entries.c.address_key == visitor.address_key
    votes = await connection.execute(select(demand_votes).where(mine))
    waiting = await connection.execute(select(waitlist_entries).where(waits))
    created_at = await connection.scalar(
        select(users.c.created_at).where(users.c.id == visitor.user_id)
    )
    return {
        "email": visitor.email,
        "created_at": created_at,
        "identities": await identities.of_user(connection, visitor.user_id),
        "organizations": await members.of_user(connection, visitor.user_id),
        "votes": [dict(row) for row in votes.mappings()],
        "waitlist": [dict(row) for row in waiting.mappings()],
    }


async def forget(connection: AsyncConnection, visitor: Visitor) -> None:
    """Forget a person. Raises LastOwner."""
    now = datetime.now(UTC)
    for membership in await members.of_user(connection, visitor.user_id):
        others = await connection.scalar(
            select(func.count())
            .select_from(memberships)
            .where(memberships.c.organization_id == membership.organization_id)
        )
        if (others or 0) > 1:
            try:
                await members.remove(connection, membership.organization_id, visitor.user_id)
            except LastOwner:
                raise LastOwner(
                    f"{membership.name} has other members and no other owner: name one first."
                ) from None
            continue
        await connection.execute(
            update(api_keys)
            .where(
                api_keys.c.organization_id == membership.organization_id,
                api_keys.c.revoked_at.is_(None),
            )
            .values(revoked_at=now, changed_at=now)
        )
    for table, condition in (
        (demand_votes, demand_votes.c.user_id == visitor.user_id),
        (waitlist_entries, waitlist_entries.c.address_key == visitor.address_key),
        (memberships, memberships.c.user_id == visitor.user_id),
        (mail_links, mail_links.c.email == visitor.email),
        (outbox, outbox.c.recipient == visitor.email),
    ):
        await connection.execute(delete(table).where(condition))
    await connection.execute(
        update(users)
        .where(users.c.id == visitor.user_id)
        .values(email=None, address_key=None, deleted_at=now)
    )
    await identities.disconnect(connection, visitor.user_id)
    await sessions.end_all(connection, visitor.user_id)
