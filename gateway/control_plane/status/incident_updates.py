"""What operators say of incidents in public: a title, and words, as often as there is news."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.errors import BadRequest, NotFound
from gateway.identifiers import new_id
from gateway.storage.database import count
from gateway.storage.tables import incident_updates, incidents

TITLE_CHARACTERS_MAX = 120
WORDS_CHARACTERS_MAX = 2_000
UPDATES_MAX = 50
"""Most updates of one incident."""
_READ_MAX = 1_000


class IncidentNotFound(NotFound):
    """There is no incident of that id."""

    code = "incident_not_found"


class BadUpdate(BadRequest):
    """An update that is empty, too long, or one too many."""

    code = "bad_update"


class IncidentUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What was said at a time."""

    posted_at: datetime
    title: str
    words: str


async def add(connection: AsyncConnection, incident_id: str, title: str, words: str) -> None:
    """Say something of an incident. Raises IncidentNotFound or BadUpdate."""
    title, words = title.strip(), words.strip()
    if not 1 <= len(title) <= TITLE_CHARACTERS_MAX:
        raise BadUpdate(f"Title: 1 to {TITLE_CHARACTERS_MAX} characters.", param="title")
    if not 1 <= len(words) <= WORDS_CHARACTERS_MAX:
        raise BadUpdate(f"Words: 1 to {WORDS_CHARACTERS_MAX:,} characters.", param="words")
    found = select(incidents.c.id).where(incidents.c.id == incident_id).with_for_update()
    if await connection.scalar(found) is None:
        raise IncidentNotFound(f"There is no incident {incident_id[:50]}: see incidents list.")
    mine = incident_updates.c.incident_id == incident_id
    if await count(connection, incident_updates, mine) >= UPDATES_MAX:
        raise BadUpdate(f"An incident has at most {UPDATES_MAX} updates.")
    await connection.execute(
        insert(incident_updates).values(
            id=new_id(), incident_id=incident_id, posted_at=wall.now(), title=title, words=words
        )
    )


async def of_all(
    connection: AsyncConnection, incident_ids: Sequence[str]
) -> Mapping[str, list[IncidentUpdate]]:
    """Return what was said of some incidents, the newest first."""
    said: dict[str, list[IncidentUpdate]] = defaultdict(list)
    if not incident_ids:
        return said
    table = incident_updates.c
    found = await connection.execute(
        select(table.incident_id, *(table[name] for name in IncidentUpdate.__struct_fields__))
        .where(table.incident_id.in_(incident_ids))
        .order_by(table.id.desc())
        .limit(_READ_MAX)
    )
    for row in found:
        said[row.incident_id].append(
            IncidentUpdate(posted_at=row.posted_at, title=row.title, words=row.words)
        )
    return said
