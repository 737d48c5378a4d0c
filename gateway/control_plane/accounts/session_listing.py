"""A user's sessions as they see them: where each was begun, and ending one."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.errors import NotFound
from gateway.identifiers import is_id
from gateway.storage.tables import sessions

SHOWN_MAX = 100


class SessionNotFound(NotFound):
    """The user has no such session."""

    code = "session_not_found"


class HeldSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that may be used; `rotated_at` is when it was used last, but for an hour."""

    id: str
    browser: str
    network: str
    created_at: datetime
    rotated_at: datetime


async def of_user(connection: AsyncConnection, user_id: str) -> list[HeldSession]:
    """Return a user's sessions, the one used last first."""
    columns = [sessions.c[name] for name in HeldSession.__struct_fields__]
    query = (
        select(*columns)
        .where(
            sessions.c.user_id == user_id,
            sessions.c.revoked_at.is_(None),
            sessions.c.expires_at > wall.now(),
        )
        .order_by(sessions.c.rotated_at.desc())
        .limit(SHOWN_MAX)
    )
    return [HeldSession(**row) for row in (await connection.execute(query)).mappings()]


async def end(connection: AsyncConnection, user_id: str, session_id: str) -> None:
    """End one of a user's sessions. Raises SessionNotFound."""
    ended = 0
    if is_id(session_id):
        mine = (sessions.c.id == session_id) & (sessions.c.user_id == user_id)
        result = await connection.execute(
            update(sessions)
            .where(mine, sessions.c.revoked_at.is_(None))
            .values(revoked_at=wall.now())
        )
        ended = result.rowcount
    if not ended:
        raise SessionNotFound("You have no such session. It may have ended already.")
