"""The sweep walks Stripe's lists for what no event told us.

Each list has a cursor up to which it has been read: payment intents and checkouts, whose metadata
names a payment; refunds and disputes, whose payment becomes due; early fraud warnings, which hold a
buyer. Each walk begins a little before its cursor, since an object may appear in a list later than
its time says. Stripe's balance is walked an hour late: a movement that belongs to no payment in our
books is reported to operators, as nothing else would show that the books lack it.

A walk that fails or takes too long covers half the time when it is repeated, so that every list
moves on, however long it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

import structlog
from sqlalchemy import select, update

from gateway.control_plane.payments import adoption, customers, payments
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeFailure
from gateway.control_plane.payments.stripe_objects import (
    StripeDispute,
    StripeIntent,
    StripeMovement,
    StripeRefund,
    StripeSession,
    StripeWarning,
)
from gateway.observability import metrics
from gateway.storage.database import Database, insert_into
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import stripe_cursors, stripe_transactions

log = structlog.get_logger()

OVERLAP = timedelta(minutes=15)
"""How much of a list is read again by the next walk."""
WALK_MAX = timedelta(days=1)
"""Most time that one walk covers."""
WALKS_MAX = 4
"""Most walks of one list in one turn: the first turn of a deployment reaches the present."""
BEGINNING = timedelta(days=3)
"""How far back the first walk of a deployment begins."""

WALK_MIN = timedelta(minutes=5)
"""Least time that a walk covers, however often it fails."""
WALK_SECONDS = 25.0
"""Longest reading of one walk at Stripe."""
TURN_SECONDS = 20.0
"""How long a turn goes on beginning walks, so that it ends within a job's time limit."""
SETTLED = timedelta(hours=1)
"""How old Stripe's balance transactions are when they are looked up: our books have them then."""

_CLAIMED = timedelta(minutes=5)
_OURS_OR_ODD = frozenset(
    {"charge", "payment", "refund", "payment_refund", "payment_failure_refund", "adjustment"}
)
"""Types that payments have; others are payouts, Stripe's own fees and the like."""


class _List(NamedTuple):
    """A list, what is done with each of its objects, and how old they must be."""

    read: Callable[..., Awaitable[list[Any]]]
    take: Callable[[Any], Awaitable[bool]]
    age: timedelta = timedelta()


class _Walk(NamedTuple):
    name: str
    start: datetime
    end: datetime
    is_last: bool


class Sweep:
    """Walks the lists that are due; `run` is a job."""

    def __init__(
        self, database: Database, api: StripeApi, *, seconds: float, wake: Callable[[], None]
    ) -> None:
        self._database = database
        self._interval = timedelta(seconds=seconds)
        self._wake = wake
        self._lists = {
            "intents": _List(api.intents, self._adopt),
            "sessions": _List(api.sessions, self._adopt),
            "refunds": _List(api.all_refunds, self._make_due),
            "disputes": _List(api.all_disputes, self._make_due),
            "warnings": _List(api.all_warnings, self._warned),
            "transactions": _List(api.all_transactions, self._explain, SETTLED),
        }
        self._lengths = dict.fromkeys(self._lists, WALK_MAX)

    async def run(self) -> int:
        """Walk what is due, for a while; return how many payments that made due."""
        found, ends = 0, monotonic() + TURN_SECONDS
        for name in await self._order():
            try:
                found += await self._walk(name, ends)
            except StripeFailure as error:
                self._shorten(name, str(error))
            except TimeoutError:
                self._shorten(name, "Stripe did not answer in time")
        if found:
            self._wake()
        return found

    async def _order(self) -> list[str]:
        """Return the lists, the longest due first, so that one that hangs stops no other."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(stripe_cursors.c.name, stripe_cursors.c.due_at))
            due = {row.name: row.due_at.timestamp() for row in rows}
        return sorted(self._lists, key=lambda name: due.get(name, 0.0))

    async def _walk(self, name: str, ends: float) -> int:
        """Walk one list. Raises StripeFailure and TimeoutError."""
        found, listed = 0, self._lists[name]
        for _ in range(WALKS_MAX):
            walk = await self._claim(name) if monotonic() < ends else None
            if walk is None:
                break
            # the last one to the end of the list, whatever the time at Stripe is
            is_open = walk.is_last and not listed.age
            start = walk.start if listed.age else walk.start - OVERLAP
            async with asyncio.timeout(WALK_SECONDS):
                objects = await listed.read(
                    created_from=start, created_to=None if is_open else walk.end
                )
            for one in objects:
                found += await listed.take(one)
            await self._finish(walk)
            self._lengths[name] = min(self._lengths[name] * 2, WALK_MAX)
        return found

    def _shorten(self, name: str, reason: str) -> None:
        self._lengths[name] = max(self._lengths[name] / 2, WALK_MIN)
        log.warning("a list at Stripe could not be read", list=name, reason=reason)

    async def _claim(self, name: str) -> _Walk | None:
        """Take a list that is due, for a few minutes."""
        cursor = stripe_cursors.c
        async with self._database.read() as connection:  # avoid the write lock if it is not due
            now = await database_now(connection)
            query = select(cursor.name).where(cursor.name == name, cursor.due_at > now)
            if await connection.scalar(query) is not None:
                return None
        async with self._database.write() as connection:
            await connection.execute(
                insert_into(connection, stripe_cursors)
                .values(name=name, read_until=_whole(now - BEGINNING), due_at=now)
                .on_conflict_do_nothing()
            )
            claimed = await connection.execute(
                update(stripe_cursors)
                .where(cursor.name == name, cursor.due_at <= now)
                .values(due_at=now + _CLAIMED)
                .returning(cursor.read_until)
            )
            start = claimed.scalar_one_or_none()
        if start is None:
            return None
        age = self._lists[name].age
        latest = _whole(now - age) if age else now
        end = min(latest, start + self._lengths[name])
        return _Walk(name, start, end, is_last=end == latest)

    async def _finish(self, walk: _Walk) -> None:
        cursor = stripe_cursors.c
        async with self._database.write() as connection:
            now = await database_now(connection)
            due_at = now + self._interval if walk.is_last else now
            await connection.execute(
                update(stripe_cursors)
                .where(cursor.name == walk.name, cursor.read_until == walk.start)
                .values(read_until=walk.end, due_at=due_at)
            )

    async def _adopt(self, found: StripeIntent | StripeSession) -> bool:
        """Connect an object with its payment; return whether that was new."""
        payment_id = (found.metadata or {}).get("payment_id", "")
        async with self._database.read() as connection:  # most are known: avoid the write lock
            payment = await payments.get(connection, payment_id)
        if not payment_id or (payment and found.id in (payment.intent_id, payment.session_id)):
            return False
        async with self._database.write() as connection:
            return await adoption.adopt(connection, found) is not None

    async def _make_due(self, found: StripeRefund | StripeDispute | StripeMovement) -> bool:
        """Make the payment of something due; return whether it is one of ours."""
        intent_id = found.intent_id if isinstance(found, StripeMovement) else found.payment_intent
        if intent_id is None:
            return False
        async with self._database.write() as connection:
            payment = await payments.with_intent(connection, intent_id)
            if payment is None:
                return False
            return await payments.make_due(connection, payment.id, await database_now(connection))

    async def _warned(self, warning: StripeWarning) -> bool:
        """Hold the buyer of a payment that a card network calls fraud; no payment becomes due."""
        if warning.payment_intent is not None:
            async with self._database.write() as connection:
                payment = await payments.with_intent(connection, warning.payment_intent)
                if payment is not None:
                    await customers.warned(connection, payment.id, warning.id)
        return False

    async def _explain(self, moved: StripeMovement) -> bool:
        """Look a movement of Stripe's balance up in our books; return whether a payment is due."""
        if moved.type not in _OURS_OR_ODD:
            return False
        known = select(stripe_transactions.c.id).where(stripe_transactions.c.id == moved.id)
        async with self._database.read() as connection:
            if await connection.scalar(known) is not None:
                return False
        if await self._make_due(moved):
            return True
        log.error("Stripe's balance has what no payment explains", id=moved.id, type=moved.type)
        metrics.count_unknown_transaction(moved.type)
        return False


def _whole(moment: datetime) -> datetime:
    """Return a moment without the part of a second that Stripe's times don't have."""
    return moment.replace(microsecond=0)
