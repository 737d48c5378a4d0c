"""Snoozes: needs that wait until a time, with the reason. A need that got worse waits no longer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import SEVERITIES, Need, Severity
from gateway.storage.clock import clock
from gateway.storage.database import insert_into
from gateway.storage.tables import snoozes


class Snooze(msgspec.Struct, frozen=True, kw_only=True):
    """Until when a cause waits, and why. `user_id` is who put it off, None for the command line."""

    key: str
    severity: Severity
    reason: str
    user_id: str | None
    created_at: datetime
    until: datetime

    def covers(self, need: Need) -> bool:
        """Tell whether a need with this key is no worse than when it was put off."""
        return SEVERITIES.index(need.severity) >= SEVERITIES.index(self.severity)


async def put(connection: AsyncConnection, snooze: Snooze) -> None:
    """Put a cause off, or anew."""
    values = msgspec.structs.asdict(snooze)
    await connection.execute(
        insert_into(connection, snoozes)
        .values(**values)
        .on_conflict_do_update(index_elements=["key"], set_=values)
    )


async def end(connection: AsyncConnection, key: str) -> bool:
    """End a snooze before its time; return whether there was one."""
    done = await connection.execute(delete(snoozes).where(snoozes.c.key == key))
    return done.rowcount == 1


async def current(connection: AsyncConnection, now: datetime | None = None) -> Mapping[str, Snooze]:
    """Return the snoozes that last, by key; `now` is the time, in tests."""
    lasts = snoozes.c.until > (clock() if now is None else now)
    found = await connection.execute(select(snoozes).where(lasts))
    return {row["key"]: Snooze(**row) for row in found.mappings()}


async def forget_old(connection: AsyncConnection) -> None:
    """Remove those that are over."""
    await connection.execute(delete(snoozes).where(snoozes.c.until <= clock()))
