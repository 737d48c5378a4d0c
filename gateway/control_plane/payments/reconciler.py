"""Reconciliation: the ledger is brought to what Stripe says, payment by payment.

`payments.due_at` is the queue. A due payment is claimed (its version rises), read at Stripe with no
transaction open, and then written under its row lock, but only if its version is still the one that
was claimed. Whatever was heard meanwhile raised it, so an older answer is never written over a
newer one, whoever was slow. What is written is a difference, desired minus posted: doing it twice
changes nothing, and a process that dies at any point leaves the payment due again in a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from time import monotonic

import msgspec
import structlog
from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments import facts, payments, recording
from gateway.control_plane.payments.event_routes import EventRoutes
from gateway.control_plane.payments.facts import Facts
from gateway.control_plane.payments.payments import NoSuchPayment, Payment
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeFailure, StripeRefused
from gateway.identifiers import is_id
from gateway.observability import metrics
from gateway.storage import tables
from gateway.storage.database import Database
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import stripe_events

log = structlog.get_logger()

CLAIMED = timedelta(seconds=60)
"""How long a claimed payment is left to its process before another one takes it."""
TURN_SECONDS = 40.0
"""How long a run takes up payments, so that a job ends within its time limit."""
AT_ONCE = 4
"""Payments that one process reads at the same time."""

_YOUNG = timedelta(days=3)
_WATCHED = timedelta(days=120)
"""How long refunds and disputes of a payment are looked for without an event."""
_DAILY = timedelta(days=1)

Ended = Callable[[AsyncConnection, Payment], Awaitable[None]]
"""What else belongs into the transaction in which a payment becomes paid or failed."""


class Reconciler:
    """Reconciles payments; `run` is a job, and `wake` says that there is something to do."""

    def __init__(
        self,
        database: Database,
        api: StripeApi,
        *,
        sweep_seconds: float,
        ended: Ended,
        saved: Callable[[str], Awaitable[None]],
    ) -> None:
        self._database = database
        self._api = api
        self._routes = EventRoutes(database, api, saved)
        self._sweep = timedelta(seconds=sweep_seconds)
        self._ended = ended
        self._saved = saved
        self.is_held_up = False
        """Whether Stripe did not answer in the last run, so that another would meet the same."""

    async def run(self) -> int:
        """Reconcile what is due, for a while; return how many payments were written."""
        ends = monotonic() + TURN_SECONDS
        stopped = asyncio.Event()
        try:
            await self._routes.run(ends)
            done = await asyncio.gather(*(self._drain(ends, stopped) for _ in range(AT_ONCE)))
            self.is_held_up = stopped.is_set() or self._routes.is_held_up
        finally:
            await self._measure()
        return sum(done)

    async def reconcile(self, payment_id: str) -> Payment:
        """Reconcile one payment now and return it. Raises StripeFailure or NoSuchPayment.

        It is returned as it is when another process heard something newer meanwhile.
        """
        if not is_id(payment_id):
            raise NoSuchPayment(f"There is no payment {payment_id!r}.")
        claimed = await self._claim(tables.payments.c.id == payment_id)
        if claimed is not None:
            await self._reconcile(claimed)
        async with self._database.read() as connection:
            return await payments.find(connection, payment_id)

    async def _drain(self, ends: float, stopped: asyncio.Event) -> int:
        done = 0
        while monotonic() < ends and not stopped.is_set():
            payment = await self._claim_due()
            if payment is None:
                break
            try:
                done += await self._reconcile(payment)
            except StripeFailure as error:
                # the others would meet the same: they stay due, and the next run tries again
                log.warning("payments wait for Stripe", payment=payment.id, reason=str(error))
                stopped.set()
        return done

    async def _claim_due(self) -> Payment | None:
        async with self._database.read() as connection:  # avoid the write lock if nothing is due
            now = await database_now(connection)
            due = (
                select(tables.payments.c.id)
                .where(tables.payments.c.due_at <= now, _of_reconciler())
                .order_by(tables.payments.c.due_at)
                .limit(1)
            )
            if await connection.scalar(due) is None:
                return None
        next_one = due.with_for_update(skip_locked=True).scalar_subquery()
        return await self._claim(tables.payments.c.id == next_one)

    async def _claim(self, condition: ColumnElement[bool]) -> Payment | None:
        """Take a payment to read it at Stripe."""
        table = tables.payments
        async with self._database.write() as connection:
            now = await database_now(connection)
            claimed = await connection.execute(
                update(table)
                .where(condition, _of_reconciler())
                .values(version=table.c.version + 1, due_at=now + CLAIMED)
                .returning(table)
            )
            row = claimed.one_or_none()
        return None if row is None else payments.of_row(row)

    async def _reconcile(self, claimed: Payment) -> bool:
        """Read a claimed payment and write what follows; return whether it was. StripeFailure."""
        try:
            found = await facts.read(self._api, claimed)
        except StripeRefused as error:
            return await self._refused(claimed, error)
        async with self._database.write() as connection:
            payment = await payments.lock(connection, claimed.id)
            if payment is None or payment.version != claimed.version:
                return False
            now = await database_now(connection)
            values = recording.values_of(payment, found, now)
            after = msgspec.structs.replace(payment, **values)
            values["due_at"] = self._next(after, found, now)
            values["reconciled_at"] = _claimed_at(claimed)
            await payments.change(connection, payment.id, values)
            if found is not None:
                await recording.write(connection, payment, after, found, now)
            if after.state != payment.state and after.state in ("paid", "failed"):
                await self._ended(connection, after)
        if after.saves_card and after.state == "paid" and now - after.created_at < _YOUNG:
            await self._save_card(after)
        return True

    async def _save_card(self, payment: Payment) -> None:
        """Read the buyer's cards: the one that paid is to be kept."""
        if payment.customer_id is None:
            return
        try:
            await self._saved(payment.customer_id)
        except StripeFailure:
            async with self._database.write() as connection:
                now = await database_now(connection)
                await payments.make_due(connection, payment.id, now + CLAIMED)

    async def _refused(self, claimed: Payment, error: StripeRefused) -> bool:
        """Ask an operator to look at a payment that Stripe won't show."""
        log.error("payment refused by Stripe", payment=claimed.id, reason=str(error))
        async with self._database.write() as connection:
            payment = await payments.lock(connection, claimed.id)
            if payment is None or payment.version != claimed.version:
                return False
            now = await database_now(connection)
            values = {
                "attention": f"Stripe does not show it: {error}"[:500],
                "due_at": now + _DAILY,
            }
            await payments.change(connection, claimed.id, values)
        return True

    def _next(self, payment: Payment, found: Facts | None, now: datetime) -> datetime | None:
        """Return when a payment is read again though nothing is heard of it."""
        if payment.state in ("expired", "canceled"):
            return None
        age = now - payment.created_at
        if age > _WATCHED:
            return None
        moves = payment.is_unfinished or (
            found is not None
            and payment.state == "paid"
            and (not found.transactions or found.has_open_refund or _lacks_invoice(payment))
        )
        return now + (self._sweep if moves and age < _YOUNG else _DAILY)

    async def _measure(self) -> None:
        """Tell the metrics how late reconciliation is."""
        async with self._database.read() as connection:
            now = await database_now(connection)
            due = [
                await connection.scalar(
                    select(func.min(tables.payments.c.due_at)).where(_of_reconciler())
                ),
                await connection.scalar(select(func.min(stripe_events.c.due_at))),
            ]
            attention = await connection.scalar(
                select(func.count())
                .select_from(tables.payments)
                .where(tables.payments.c.attention != "")
            )
        late = [max((now - at).total_seconds(), 0.0) for at in due if at is not None]
        metrics.set_payments(max(late, default=0.0), attention or 0)


def _of_reconciler() -> ColumnElement[bool]:
    """Select what is not an attempt of auto top-up that Stripe may not know: those have a job."""
    table = tables.payments
    return or_(table.c.origin != "auto", table.c.state != "started")


def _claimed_at(claimed: Payment) -> datetime:
    """Return when a payment was claimed: what Stripe says is not older."""
    assert claimed.due_at is not None
    return claimed.due_at - CLAIMED


def _lacks_invoice(payment: Payment) -> bool:
    return payment.session_id is not None and not payment.invoice_number
