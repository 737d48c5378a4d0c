"""Notes that operators write about an organization, for one another."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.back_office import acting
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail.entries import record
from gateway.identifiers import new_id
from gateway.storage.tables import organization_notes, users

SHOWN_MAX = 50
"""Most notes of an organization that are shown, the newest."""


class OrganizationNote(msgspec.Struct, frozen=True, kw_only=True):
    """A note, and who wrote it."""

    id: str
    words: str
    author: str | None
    created_at: datetime


async def write(
    connection: AsyncConnection, operator: Operator, organization_id: str, words: str
) -> None:
    """Write a note. Raises NotPermitted, or NoReasonGiven for an empty or too long one."""
    operator.must("support")
    words, note_id = acting.checked(operator, words, param="words"), new_id()
    if not words:
        raise acting.NoReasonGiven("A note can't be empty.", param="words")
    await connection.execute(
        insert(organization_notes).values(
            id=note_id,
            organization_id=organization_id,
            author_id=operator.user_id,
            words=words,
            created_at=wall.now(),
        )
    )
    # for operators alone: the organization does not read it in its own trail
    await record(
        connection,
        operator.actor,
        "note.written",
        f"organization:{organization_id}",
        after={"note": note_id},
    )


async def newest(connection: AsyncConnection, organization_id: str) -> list[OrganizationNote]:
    """Return the newest notes about an organization."""
    table = organization_notes.c
    found = await connection.execute(
        select(table.id, table.words, table.created_at, users.c.email.label("author"))
        .join(users, users.c.id == table.author_id, isouter=True)
        .where(table.organization_id == organization_id)
        .order_by(table.id.desc())
        .limit(SHOWN_MAX)
    )
    return [OrganizationNote(**row) for row in found.mappings()]
