"""What the last audits found, of the trail and of the ledger, for those who look later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.trail.verification import RULES, Verified, verify
from gateway.observability import metrics
from gateway.storage.database import Database, insert_into, see_one_moment
from gateway.storage.tables import audits

log = structlog.get_logger()

AuditName = Literal["ledger", "trail"]

_ENTRIES_MAX = 50_000
"""Most entries that one run of the job checks. The next goes on from there, and begins anew at the
end."""
_LATE = 3
"""How many turns an audit may miss before it counts as one that did not run."""


class AuditResult(msgspec.Struct, frozen=True, kw_only=True):
    """One audit: when it ran, and what is broken, with up to 20 culprits each."""

    name: AuditName
    ran_at: datetime
    due_at: datetime
    """When the next one must have run."""
    broken: dict[str, list[str]]
    broken_since: datetime | None
    position: int


async def audit_trail(database: Database, interval_seconds: float = 300.0) -> Verified:
    """Check the next part of the trail. Logs breaches as errors; the job's function."""
    async with database.read() as connection:
        await see_one_moment(connection)
        last = (await latest(connection)).get("trail")
        after = last.position if last else 0
        found = await verify(connection, after=after, most=_ENTRIES_MAX)
    for rule in RULES:
        metrics.set_breaches(rule.name, len(found.broken.get(rule.name, ())))
    for name, culprits in found.broken.items():
        log.error("the audit trail is broken", rule=name, entries=culprits)
    if found.broken:
        position = after  # until it is mended, this is what is looked at
    elif found.is_whole:
        position = 0
        log.info("the audit trail holds", number=found.number, hash=found.hash.hex())
    else:
        position = found.number
    async with database.write() as connection:
        await note(connection, "trail", found.broken, interval_seconds, position=position)
    return found


async def note(
    connection: AsyncConnection,
    name: AuditName,
    broken: Mapping[str, Sequence[str]],
    interval_seconds: float,
    *,
    position: int = 0,
) -> None:
    """Keep what an audit found; `broken_since` stays until one finds nothing."""
    now = datetime.now(UTC)
    values = {
        "ran_at": now,
        "due_at": now + _LATE * timedelta(seconds=interval_seconds),
        "broken": msgspec.json.encode(broken).decode(),
        "position": position,
    }
    since = now if broken else None
    await connection.execute(
        insert_into(connection, audits)
        .values(name=name, broken_since=since, **values)
        .on_conflict_do_update(
            index_elements=["name"],
            set_={
                **values,
                "broken_since": func.coalesce(audits.c.broken_since, since) if broken else None,
            },
        )
    )


async def latest(connection: AsyncConnection) -> dict[str, AuditResult]:
    """Return the last audit of each kind, by name."""
    found = (await connection.execute(select(audits))).mappings()
    return {
        row["name"]: AuditResult(**{**row, "broken": msgspec.json.decode(row["broken"])})
        for row in found
    }
