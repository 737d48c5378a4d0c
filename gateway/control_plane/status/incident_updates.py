"""What operators say of incidents in public: a title, and words, as often as there is news."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.errors import BadRequest, NotFound
from gateway.identifiers import is_id, new_id
from gateway.storage.database import count
from gateway.storage.tables import incident_updates, incidents

TITLE_CHARACTERS_MAX = 120
WORDS_CHARACTERS_MAX = 2_000
UPDATES_MAX = 50
"""Most updates of one incident."""
_READ_MAX = 1_000
_NOTHING_NEW = "This is what it says already."


class IncidentNotFound(NotFound):
    """There is no incident of that id."""

    code = "incident_not_found"


class UpdateNotFound(NotFound):
    """There is no update of that id."""

    code = "incident_update_not_found"


class BadUpdate(BadRequest):
    """An update that is empty, too long, one too many, or says nothing new."""

    code = "bad_update"


class IncidentUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What was said at a time."""

    id: str
    posted_at: datetime
    title: str
    words: str


class Correction(NamedTuple):
    """An update of an incident, before and after it was corrected."""

    incident_id: str
    before: IncidentUpdate
    after: IncidentUpdate


async def add(
    connection: AsyncConnection, incident_id: str, title: str, words: str
) -> IncidentUpdate:
    """Say something of an incident. Raises IncidentNotFound or BadUpdate."""
    added = _checked(IncidentUpdate(id=new_id(), posted_at=wall.now(), title=title, words=words))
    found = select(incidents.c.id).where(incidents.c.id == incident_id).with_for_update()
    if await connection.scalar(found) is None:
        raise not_found(incident_id)
    mine = incident_updates.c.incident_id == incident_id
    if await count(connection, incident_updates, mine) >= UPDATES_MAX:
        raise BadUpdate(f"An incident has at most {UPDATES_MAX} updates.")
    newest = (await of_all(connection, [incident_id])).get(incident_id, [])[:1]
    if any(_says_the_same(added, one) for one in newest):
        raise BadUpdate(_NOTHING_NEW, param="words")
    await connection.execute(
        insert(incident_updates).values(incident_id=incident_id, **msgspec.structs.asdict(added))
    )
    return added


async def correct(
    connection: AsyncConnection, update_id: str, title: str, words: str
) -> Correction:
    """Replace what an update says; its time stays. Raises UpdateNotFound or BadUpdate."""
    table = incident_updates.c
    query = select(incident_updates).where(table.id == update_id).with_for_update()
    row = (await connection.execute(query)).one_or_none() if is_id(update_id) else None
    if row is None:
        raise UpdateNotFound(f"There is no update {update_id[:50]} of an incident.")
    before = IncidentUpdate(id=row.id, posted_at=row.posted_at, title=row.title, words=row.words)
    after = _checked(msgspec.structs.replace(before, title=title, words=words))
    if _says_the_same(after, before):
        raise BadUpdate(_NOTHING_NEW, param="words")
    changed = update(incident_updates).where(table.id == update_id)
    await connection.execute(changed.values(title=after.title, words=after.words))
    return Correction(row.incident_id, before, after)


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
            IncidentUpdate(id=row.id, posted_at=row.posted_at, title=row.title, words=row.words)
        )
    return said


def not_found(incident_id: str) -> IncidentNotFound:
    """Return the error of an id that is no incident's."""
    return IncidentNotFound(f"There is no incident {incident_id[:50]}.")


def _checked(said: IncidentUpdate) -> IncidentUpdate:
    """Return an update without the space around its words. Raises BadUpdate."""
    title, words = said.title.strip(), said.words.strip()
    if not 1 <= len(title) <= TITLE_CHARACTERS_MAX:
        raise BadUpdate(f"Title: 1 to {TITLE_CHARACTERS_MAX} characters.", param="title")
    if not 1 <= len(words) <= WORDS_CHARACTERS_MAX:
        raise BadUpdate(f"Words: 1 to {WORDS_CHARACTERS_MAX:,} characters.", param="words")
    return msgspec.structs.replace(said, title=title, words=words)


def _says_the_same(one: IncidentUpdate, other: IncidentUpdate) -> bool:
    return (one.title, one.words) == (other.title, other.words)
