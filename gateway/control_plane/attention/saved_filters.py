"""Filters of lists that an operator keeps, by name."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.errors import BadRequest
from gateway.identifiers import is_id, new_id
from gateway.storage.database import alone, count, insert_into
from gateway.storage.tables import saved_filters

NAME_CHARACTERS_MAX = 60
QUERY_CHARACTERS_MAX = 500
FILTERS_MAX = 50
"""Most filters that one operator keeps."""


class CannotSave(BadRequest):
    """The filter has no name, or one of its parts is too long, or there are too many."""

    code = "cannot_save_filter"


class SavedFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A filter of a list: `query` is the part of the address after the question mark."""

    id: str
    path: str
    name: str
    query: str


async def of_user(connection: AsyncConnection, user_id: str, path: str) -> list[SavedFilter]:
    """Return the filters that an operator keeps for a list."""
    columns = [saved_filters.c[name] for name in SavedFilter.__struct_fields__]
    query = select(*columns).where(saved_filters.c.user_id == user_id, saved_filters.c.path == path)
    found = await connection.execute(query.order_by(saved_filters.c.name).limit(FILTERS_MAX))
    return [SavedFilter(**row) for row in found.mappings()]


async def save(
    connection: AsyncConnection, user_id: str, *, path: str, name: str, query: str
) -> None:
    """Keep a filter; one of the same name is replaced. Raises CannotSave."""
    name = " ".join(name.split())
    if not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise CannotSave(
            f"Name the filter, in 1 to {NAME_CHARACTERS_MAX} characters.", param="name"
        )
    if not query or len(query) > QUERY_CHARACTERS_MAX:
        raise CannotSave("Choose a filter first, and a shorter one if it is very long.")
    await alone(connection, f"filters of {user_id}")
    if await count(connection, saved_filters, saved_filters.c.user_id == user_id) >= FILTERS_MAX:
        raise CannotSave(f"You can keep at most {FILTERS_MAX} filters. Remove one first.")
    await connection.execute(
        insert_into(connection, saved_filters)
        .values(
            id=new_id(),
            user_id=user_id,
            path=path,
            name=name,
            query=query,
            created_at=wall.now(),
        )
        .on_conflict_do_update(index_elements=["user_id", "path", "name"], set_={"query": query})
    )


async def remove(connection: AsyncConnection, user_id: str, filter_id: str) -> str | None:
    """Remove a filter of an operator; return the list that it was of."""
    if not is_id(filter_id):
        return None
    path: str | None = await connection.scalar(
        delete(saved_filters)
        .where(saved_filters.c.id == filter_id, saved_filters.c.user_id == user_id)
        .returning(saved_filters.c.path)
    )
    return path
