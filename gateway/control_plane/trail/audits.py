"""What the last audits found, of the trail and of the ledger, for those who look later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, get_args

import msgspec
import structlog
from sqlalchemy import RowMapping, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.trail.verification import RULES, Verified, verify
from gateway.identifiers import new_id
from gateway.observability import metrics
from gateway.storage.database import Database, see_one_moment
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import audit_runs

log = structlog.get_logger()

AuditName = Literal["ledger", "trail"]

_ENTRIES_MAX = 50_000
"""Most entries that one run of the job checks. The next goes on from there, and begins anew at the
end."""
KEPT = timedelta(days=30)
"""How long audits are kept."""
_FORGOTTEN_AT_ONCE = 10_000
_EARLY = 0.8
"""Which part of its interval must be over before the next audit: the turns of processes differ."""
_LATE = 3
"""How many turns an audit may miss before it counts as one that did not run."""


class AuditRun(msgspec.Struct, frozen=True, kw_only=True):
    """One audit: when it ran, and what is broken, with up to 20 culprits each."""

    id: str
    name: AuditName
    began_at: datetime
    ended_at: datetime
    due_at: datetime
    """When the next one must have run."""
    breaches: dict[str, list[str]]
    broken_since: datetime | None
    """Since which audit something is broken."""
    position: int
    """Of the trail: up to which entry it was checked."""
    balances: str | None
    """Of the ledger: every account then, as billing.audit_runs reads it."""


class AuditOverdue(Exception):
    """The last audit is too long ago, and another process holds its lock."""


async def in_turn(
    database: Database,
    name: AuditName,
    rules: Sequence[str],
    interval_seconds: float,
    run: Callable[[], Awaitable[object]],
) -> None:
    """Run an audit unless a process has begun one within the interval; export what the last found.

    Raises what kept it from running, or AuditOverdue. The metric of its rules is NaN then.
    """
    try:
        async with database.read() as connection:
            is_due = await _is_due(connection, name, interval_seconds)
        if is_due:
            await run()
        async with database.read() as connection:
            last = (await latest(connection)).get(name)
            _refuse_late(last, await database_now(connection))
    except BaseException:
        metrics.forget_breaches(rules)
        raise
    if last is not None:  # else another process is at the first one
        metrics.set_breaches(rules, last.breaches)


def _refuse_late(last: AuditRun | None, now: datetime) -> None:
    if last is not None and last.due_at < now:
        raise AuditOverdue(f"since {last.due_at:%Y-%m-%d %H:%M}Z, and another process is at it")


async def trail_in_turn(database: Database, interval_seconds: float) -> None:
    """Check the next part of the trail when it is its turn; the job's function. See `in_turn`."""
    rules = [rule.name for rule in RULES]
    run = partial(audit_trail, database, interval_seconds)
    await in_turn(database, "trail", rules, interval_seconds, run)


async def audit_trail(database: Database, interval_seconds: float = 300.0) -> Verified:
    """Check the next part of the trail. Logs breaches as errors."""
    async with database.read() as connection:
        await see_one_moment(connection)
        began_at = await database_now(connection)
        last = (await latest(connection)).get("trail")
        after = last.position if last else 0
        found = await verify(connection, after=after, most=_ENTRIES_MAX)
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
        await note(connection, "trail", began_at, found.broken, interval_seconds, position=position)
    return found


async def _is_due(connection: AsyncConnection, name: AuditName, interval_seconds: float) -> bool:
    """Tell whether no process has begun an audit within the last interval."""
    last = (await latest(connection)).get(name)
    if last is None:
        return True
    age = await database_now(connection) - last.began_at
    return abs(age.total_seconds()) > interval_seconds * _EARLY


async def note(
    connection: AsyncConnection,
    name: AuditName,
    began_at: datetime,
    breaches: Mapping[str, Sequence[str]],
    interval_seconds: float,
    *,
    position: int = 0,
    balances: str | None = None,
) -> None:
    """Keep what an audit found; `broken_since` stays until one finds nothing. Removes old ones."""
    now = await database_now(connection)
    before = (await latest(connection)).get(name)
    since = (before.broken_since if before else None) or now
    await connection.execute(
        insert(audit_runs).values(
            id=new_id(),
            name=name,
            began_at=began_at,
            ended_at=now,
            due_at=now + _LATE * timedelta(seconds=interval_seconds),
            breaches=msgspec.json.encode(breaches).decode(),
            broken_since=since if breaches else None,
            position=position,
            balances=balances,
        )
    )
    old = select(audit_runs.c.id).where(audit_runs.c.began_at < now - KEPT)
    some = old.limit(_FORGOTTEN_AT_ONCE)
    await connection.execute(delete(audit_runs).where(audit_runs.c.id.in_(some)))


async def latest(connection: AsyncConnection) -> dict[str, AuditRun]:
    """Return the last audit of each kind, by name."""
    run = audit_runs.c
    newest = [
        select(run.id).where(run.name == name).order_by(run.id.desc()).limit(1).scalar_subquery()
        for name in get_args(AuditName)
    ]
    found = await connection.execute(select(audit_runs).where(run.id.in_(newest)))
    return {row["name"]: _run(row) for row in found.mappings()}


async def recent(
    connection: AsyncConnection, name: AuditName, *, before: str | None = None, limit: int
) -> list[AuditRun]:
    """Return the newest audits of a kind, before one of them."""
    run = audit_runs.c
    query = select(audit_runs).where(run.name == name).order_by(run.id.desc()).limit(limit)
    if before is not None:
        query = query.where(run.id < before)
    return [_run(row) for row in (await connection.execute(query)).mappings()]


def _run(row: RowMapping) -> AuditRun:
    return AuditRun(**{**row, "breaches": msgspec.json.decode(row["breaches"])})
