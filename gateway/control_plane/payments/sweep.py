"""The sweep: Stripe's lists are walked for what no event told of.

Four lists, each with a cursor until which it has been read: payment intents and checkouts, whose
metadata names a payment, and refunds and disputes, whose payment is then due. Each walk begins a
little before its cursor, since an object may appear in a list later than its time says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import select, update

from gateway.control_plane.payments import adoption, payments
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeFailure
from gateway.control_plane.payments.stripe_objects import StripeIntent, StripeSession
from gateway.storage.database import Database, insert_into
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import stripe_cursors

log = structlog.get_logger()

OVERLAP = timedelta(minutes=15)
"""How much of a list is read again by the next walk."""
WALK_MAX = timedelta(days=1)
"""Most time that one walk covers."""
WALKS_MAX = 4
"""Most walks of one list in one turn: the first turn of a deployment reaches the present."""
BEGINNING = timedelta(days=3)
"""How far back the first walk of a deployment begins."""

_CLAIMED = timedelta(minutes=5)


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
        self._api = api
        self._interval = timedelta(seconds=seconds)
        self._wake = wake
        self._lists: dict[str, Callable[[datetime, datetime | None], Awaitable[int]]] = {
            "intents": self._intents,
            "sessions": self._sessions,
            "refunds": self._refunds,
            "disputes": self._disputes,
        }

    async def run(self) -> int:
        """Walk what is due; return how many payments became due by it."""
        found = 0
        try:
            for name, read in self._lists.items():
                for _ in range(WALKS_MAX):
                    walk = await self._claim(name)
                    if walk is None:
                        break
                    # the last one to the end of the list, whatever the time at Stripe is
                    found += await read(walk.start - OVERLAP, None if walk.is_last else walk.end)
                    await self._finish(walk)
        except StripeFailure as error:
            log.warning("a list at Stripe could not be read", reason=str(error))
        if found:
            self._wake()
        return found

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
                .values(name=name, read_until=now - BEGINNING, due_at=now)
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
        end = min(now, start + WALK_MAX)
        return _Walk(name, start, end, is_last=end == now)

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

    async def _intents(self, start: datetime, end: datetime | None) -> int:
        found = await self._api.intents(created_from=start, created_to=end)
        return sum([await self._adopt(intent) for intent in found])

    async def _sessions(self, start: datetime, end: datetime | None) -> int:
        found = await self._api.sessions(created_from=start, created_to=end)
        return sum([await self._adopt(session) for session in found])

    async def _refunds(self, start: datetime, end: datetime | None) -> int:
        found = await self._api.all_refunds(created_from=start, created_to=end)
        return sum([await self._make_due(refund.payment_intent) for refund in found])

    async def _disputes(self, start: datetime, end: datetime | None) -> int:
        found = await self._api.all_disputes(created_from=start, created_to=end)
        return sum([await self._make_due(dispute.payment_intent) for dispute in found])

    async def _adopt(self, found: StripeIntent | StripeSession) -> bool:
        """Connect an object with its payment; return whether that was new."""
        payment_id = (found.metadata or {}).get("payment_id", "")
        async with self._database.read() as connection:  # most are known: avoid the write lock
            payment = await payments.get(connection, payment_id)
        if not payment_id or (payment and found.id in (payment.intent_id, payment.session_id)):
            return False
        async with self._database.write() as connection:
            return await adoption.adopt(connection, found) is not None

    async def _make_due(self, intent_id: str | None) -> bool:
        """Make the payment of an intent due; return whether it is one of ours."""
        if intent_id is None:
            return False
        async with self._database.write() as connection:
            payment = await payments.with_intent(connection, intent_id)
            if payment is None:
                return False
            return await payments.make_due(connection, payment.id, await database_now(connection))
