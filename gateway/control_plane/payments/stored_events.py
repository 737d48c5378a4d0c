"""Stripe's events as rows: stored once, and due until they have been routed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from sqlalchemy import (
    RowMapping,
    Text,
    delete,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.payments.events import StripeEvent
from gateway.errors import NotFound
from gateway.storage.database import Database, insert_into
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import stripe_events
from gateway.storage.tables.types import Instant

KEPT = timedelta(days=30)
"""How long events are kept, for operators who look into what happened."""

_CLAIMED = timedelta(seconds=60)
_GIVE_UP = timedelta(days=3)
"""How long an event is retried whose object can't be read at Stripe."""
_LONGEST_WAIT = timedelta(hours=1)
_FORGOTTEN_AT_ONCE = 10_000
_PROBLEM_MAX = 500

EventState = Literal["waiting", "given_up", "done"]


class NoSuchEvent(NotFound):
    """There is no such event, or it is over a month old."""

    code = "event_not_found"


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event, and how far it has been processed."""

    id: str
    type: str
    object_id: str
    intent_id: str | None
    payment_id: str | None
    customer_id: str | None
    created_at: datetime
    received_at: datetime
    due_at: datetime | None
    attempts: int
    problem: str
    """Why the last attempt failed."""
    state: EventState
    """Whether it is still to be routed, was given up, or has been routed."""


async def put(database: Database, event: StripeEvent) -> bool:
    """Store an event, in one statement; return whether it is new."""
    async with database.write() as connection:
        # the database's time, by which it becomes due, without a statement of its own
        now = func.now() if not database.is_sqlite else wall.now()
        stored = await connection.execute(
            insert_into(connection, stripe_events)
            .values(**event._asdict(), received_at=now, due_at=now, attempts=0)
            .on_conflict_do_nothing(index_elements=["id"])
        )
    return stored.rowcount == 1


async def claim(connection: AsyncConnection, limit: int) -> list[StripeEvent]:
    """Take due events for a minute, the oldest first; other processes get other events."""
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
    """Note that these events have been routed."""
    await connection.execute(
        update(stripe_events).where(stripe_events.c.id.in_(ids)).values(due_at=None, problem="")
    )


async def put_off(connection: AsyncConnection, event_id: str, problem: str) -> bool:
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
        .values(due_at=now + wait if is_left else None, problem=problem[:_PROBLEM_MAX])
    )
    return is_left


async def listed(
    connection: AsyncConnection,
    *,
    state: EventState | None = None,
    about: str = "",
    before: StoredEvent | None = None,
    limit: int,
) -> list[StoredEvent]:
    """Return the newest events: in one state, about one of Stripe's ids, before one of them."""
    table = stripe_events.c
    query = select(*_COLUMNS).order_by(table.received_at.desc(), table.id.desc()).limit(limit)
    is_over = table.due_at.is_(None)
    match state:
        case "waiting":
            query = query.where(table.due_at.is_not(None))
        case "given_up":  # in the words of its index
            query = query.where(is_over, table.problem != literal_column("''"))
        case "done":
            query = query.where(is_over, table.problem == literal_column("''"))
    if about:
        named = (table.id, table.object_id, table.intent_id)  # each has an index
        query = query.where(or_(*(column == about for column in named)))
    if before is not None:
        place = tuple_(table.received_at, table.id)
        query = query.where(
            place < tuple_(literal(before.received_at, Instant()), literal(before.id, Text()))
        )
    return [_event(row) for row in (await connection.execute(query)).mappings()]


async def read(connection: AsyncConnection, event_id: str) -> StoredEvent:
    """Return one event. Raises NoSuchEvent."""
    query = select(*_COLUMNS).where(stripe_events.c.id == event_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NoSuchEvent(
            f"There is no event {event_id[:80]!r}; they are kept for {KEPT.days} days."
        )
    return _event(row)


async def replay(connection: AsyncConnection, event_id: str) -> StoredEvent:
    """Make an event due now, even if it was done; return it as it was. Raises NoSuchEvent.

    An event only says what to read, so a replay costs a reading at Stripe and can't post twice.
    """
    event = await read(connection, event_id)
    now = await database_now(connection)
    await connection.execute(
        update(stripe_events).where(stripe_events.c.id == event_id).values(due_at=now)
    )
    return event


async def forget_old(connection: AsyncConnection) -> int:
    """Remove some events past their time; return how many, 0 when there are no more."""
    old = stripe_events.c.received_at < await database_now(connection) - KEPT
    some = select(stripe_events.c.id).where(old).limit(_FORGOTTEN_AT_ONCE)
    done = await connection.execute(delete(stripe_events).where(stripe_events.c.id.in_(some)))
    return done.rowcount


def _event(row: RowMapping) -> StoredEvent:
    over: EventState = "given_up" if row["problem"] else "done"
    return StoredEvent(**row, state=over if row["due_at"] is None else "waiting")


_COLUMNS = [stripe_events.c[name] for name in StoredEvent.__struct_fields__ if name != "state"]
