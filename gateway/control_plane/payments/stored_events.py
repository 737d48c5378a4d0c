"""Stripe's events as rows: stored once, due until what they are about has been made due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments.events import StripeEvent
from gateway.storage.database import Database, insert_into
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import stripe_events

KEPT = timedelta(days=30)
"""How long events are kept, for operators who look into what happened."""

_CLAIMED = timedelta(seconds=60)
_GIVE_UP = timedelta(days=3)
"""How long an event is tried whose object can't be read at Stripe."""
_LONGEST_WAIT = timedelta(hours=1)
_FORGOTTEN_AT_ONCE = 10_000


async def put(database: Database, event: StripeEvent) -> bool:
    """Store an event, in one statement; return whether it is new."""
    async with database.write() as connection:
        # the database's time, by which it becomes due, without a statement of its own
        now = func.now() if not database.is_sqlite else datetime.now(UTC)
        stored = await connection.execute(
            insert_into(connection, stripe_events)
            .values(**event._asdict(), received_at=now, due_at=now, attempts=0)
            .on_conflict_do_nothing(index_elements=["id"])
        )
    return stored.rowcount == 1


async def claim(connection: AsyncConnection, limit: int) -> list[StripeEvent]:
    """Take due events for a minute, the oldest first; others who ask get other ones."""
    now = await database_now(connection)
    due = (
        select(stripe_events.c.id)
        .where(stripe_events.c.due_at <= now)
        .order_by(stripe_events.c.due_at, stripe_events.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = (await connection.scalars(due)).all()
    if not ids:
        return []
    columns = [stripe_events.c[name] for name in StripeEvent._fields]
    taken = await connection.execute(
        update(stripe_events)
        .where(stripe_events.c.id.in_(ids))
        .values(due_at=now + _CLAIMED, attempts=stripe_events.c.attempts + 1)
        .returning(*columns)
    )
    return [StripeEvent(*row) for row in taken]


async def finish(connection: AsyncConnection, ids: Sequence[str]) -> None:
    """Note that what these events are about has been made due."""
    await connection.execute(
        update(stripe_events).where(stripe_events.c.id.in_(ids)).values(due_at=None)
    )


async def put_off(connection: AsyncConnection, event_id: str) -> bool:
    """Try an event later, unless it is too old; return whether it will be tried."""
    now = await database_now(connection)
    query = select(stripe_events.c.attempts, stripe_events.c.received_at)
    row = (await connection.execute(query.where(stripe_events.c.id == event_id))).one_or_none()
    if row is None:
        return False
    is_left: bool = now - row.received_at < _GIVE_UP
    wait = min(_CLAIMED * 2 ** min(row.attempts, 16), _LONGEST_WAIT)
    await connection.execute(
        update(stripe_events)
        .where(stripe_events.c.id == event_id)
        .values(due_at=now + wait if is_left else None)
    )
    return is_left


async def forget_old(connection: AsyncConnection) -> int:
    """Remove some events past their time; return how many, 0 when there are no more."""
    old = stripe_events.c.received_at < await database_now(connection) - KEPT
    some = select(stripe_events.c.id).where(old).limit(_FORGOTTEN_AT_ONCE)
    done = await connection.execute(delete(stripe_events).where(stripe_events.c.id.in_(some)))
    return done.rowcount
