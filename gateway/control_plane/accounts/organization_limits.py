"""How many requests an organization may have in progress at once, where that is its own number.

It is set for few. Each process reads all of them every few seconds, so a change takes that long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import BadRequest
from gateway.storage.clock import clock
from gateway.storage.database import Database, insert_into
from gateway.storage.tables import organization_limits

IN_FLIGHT_MAX = 100_000
"""Most that can be set; a process's own bound for all holds anyway."""


class LimitOutOfBounds(BadRequest):
    """The number of requests is none, or too large."""

    code = "limit_out_of_bounds"


class OrganizationLimits:
    """Gives a process the numbers; `refresh` is a job."""

    def __init__(self, database: Database, apply: Callable[[Mapping[str, int]], None]) -> None:
        self._database = database
        self._apply = apply

    async def refresh(self) -> None:
        """Read them all, and hold the process to them."""
        limit = organization_limits.c
        async with self._database.read() as connection:
            found = await connection.execute(select(limit.organization_id, limit.in_flight_max))
            self._apply({row.organization_id: row.in_flight_max for row in found})


async def in_flight_max(connection: AsyncConnection, organization_id: str) -> int | None:
    """Return an organization's own number; None: the one that all others have."""
    own = organization_limits.c
    found: int | None = await connection.scalar(
        select(own.in_flight_max).where(own.organization_id == organization_id)
    )
    return found


async def set_in_flight_max(
    connection: AsyncConnection, organization_id: str, most: int | None
) -> None:
    """Set an organization's own number, or remove it. Raises LimitOutOfBounds."""
    if most is None:
        own = organization_limits.c.organization_id == organization_id
        await connection.execute(delete(organization_limits).where(own))
        return
    if not 1 <= most <= IN_FLIGHT_MAX:
        raise LimitOutOfBounds(f"Enter 1 to {IN_FLIGHT_MAX:,} requests.", param="amount")
    values = {"in_flight_max": most, "changed_at": clock()}
    await connection.execute(
        insert_into(connection, organization_limits)
        .values(organization_id=organization_id, **values)
        .on_conflict_do_update(index_elements=["organization_id"], set_=values)
    )
