"""Reconciliation: brings the ledger to what Stripe says, payment by payment.

`payments.due_at` is the queue. A due payment is claimed (its version rises), read at Stripe with no
transaction open, and then written under its row lock, but only if its version is still the one that
was claimed. Any news meanwhile raised it, so an older answer is never written over a newer one,
whoever was slow. What is posted is a difference, desired minus posted: doing it twice changes
nothing, and a process that dies at any point leaves the payment due again in a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import msgspec
import structlog
from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments import facts, payments, recording
from gateway.control_plane.payments.event_routes import EventRoutes
from gateway.control_plane.payments.lateness import Lateness
from gateway.control_plane.payments.outage import Outage
from gateway.control_plane.payments.payments import NoSuchPayment, Payment
from gateway.control_plane.payments.schedule import (
    DAILY,
    WATCHED,
    YOUNG,
    after_failure,
    next_reading,
)
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeDown, StripeFailure, StripeRefused
from gateway.identifiers import is_id
from gateway.storage import tables
from gateway.storage.database import Database, DatabaseAway
from gateway.storage.ledger.postings import database_now

log = structlog.get_logger()

CLAIMED = timedelta(seconds=60)
"""How long a claimed payment is left to its process before another one takes it."""
TURN_SECONDS = 15.0
"""How long a run goes on taking payments. Even with a reading that begins at the end of it, and a
card read after that, a run ends within a job's time limit, and each reading within its claim."""
ROUTING_SECONDS = TURN_SECONDS / 3
"""How much of that events may take."""
READ_SECONDS = 30.0
"""Longest reading of one payment, the wait for its turn included."""
AT_ONCE = 4
"""Payments that one process reads at the same time."""
ATTENTION_AFTER = 3
"""Failed readings in a row after which an operator is asked to look."""

_CARD_SECONDS = 8.0
_ATTENTION_MAX = 500

Ended = Callable[[AsyncConnection, Payment], Awaitable[None]]
"""What else belongs in the transaction in which a payment becomes paid or failed."""


class Reconciler:
    """Reconciles payments; `run` is a job."""

    def __init__(
        self,
        database: Database,
        api: StripeApi,
        *,
        live: bool,
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
        self._mine = _of_reconciler(live=live)
        self._lateness = Lateness(database, self._mine)
        self.is_held_up = False
        """Whether the last run ended with a failure at Stripe, so that another may well do so."""

    async def run(self) -> int:
        """Reconcile what is due, for a while; return how many payments were written."""
        began, outage = monotonic(), Outage()
        try:
            await self._routes.run(began + ROUTING_SECONDS)
            async with asyncio.TaskGroup() as group:
                drains = [
                    group.create_task(self._drain(began + TURN_SECONDS, outage))
                    for _ in range(AT_ONCE)
                ]
            met = (outage, self._routes.outage)
            self.is_held_up = any(one.is_failing for one in met)
            self._lateness.note(
                is_failing=self.is_held_up, is_answered=any(one.is_answered for one in met)
            )
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._lateness.measure()
        return sum(drain.result() for drain in drains)

    async def reconcile(self, payment_id: str) -> Payment:
        """Reconcile one payment now and return it. Raises StripeFailure or NoSuchPayment.

        If another process has newer news of it, the payment is returned unchanged.
        """
        if not is_id(payment_id):
            raise NoSuchPayment(f"There is no payment {payment_id!r}.")
        claimed = await self._claim(tables.payments.c.id == payment_id)
        if claimed is not None:
            await self._reconcile(claimed)
        async with self._database.read() as connection:
            return await payments.find(connection, payment_id)

    async def _drain(self, ends: float, outage: Outage) -> int:
        done = 0
        while monotonic() < ends and not outage.is_on:
            payment = await self._claim_due()
            if payment is None:
                break
            try:
                done += await self._reconcile(payment)
            except StripeFailure as error:
                log.warning("a payment waits for Stripe", payment=payment.id, reason=str(error))
                if outage.note(error):
                    await self._failed(payment, str(error))
                # else it stays due, as do the others, which would meet the same
            except DatabaseAway:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the others go on
                reason = f"{type(error).__name__}: {error}"
                log.error("a payment can't be reconciled", payment=payment.id, reason=reason)
                await self._failed(payment, reason)
            else:
                outage.over()
        return done

    async def _claim_due(self) -> Payment | None:
        async with self._database.read() as connection:  # avoid the write lock if nothing is due
            now = await database_now(connection)
            due = (
                select(tables.payments.c.id)
                .where(tables.payments.c.due_at <= now, self._mine)
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
                .where(condition, self._mine)
                .values(version=table.c.version + 1, due_at=now + CLAIMED)
                .returning(table)
            )
            row = claimed.one_or_none()
        return None if row is None else payments.of_row(row)

    async def _reconcile(self, claimed: Payment) -> bool:
        """Read a claimed payment and write what follows; return whether it did.

        Raises StripeFailure.
        """
        try:
            async with asyncio.timeout(READ_SECONDS):
                found = await facts.read(self._api, claimed)
        except StripeRefused as error:
            return await self._refused(claimed, error)
        except TimeoutError:
            raise StripeDown("Stripe did not answer in time") from None
        async with self._database.write() as connection:
            payment = await payments.lock(connection, claimed.id)
            if payment is None or payment.version != claimed.version:
                return False
            now = await database_now(connection)
            values = recording.values_of(payment, found, now)
            after = msgspec.structs.replace(payment, **values)
            values["due_at"] = next_reading(after, found, now, self._sweep)
            values["reconciled_at"] = _claimed_at(claimed)
            values["failures"] = 0
            await payments.change(connection, payment.id, values)
            if found is not None:
                await recording.write(connection, payment, after, found, now)
            if after.state != payment.state and after.state in ("paid", "failed"):
                await self._ended(connection, after)
        if after.saves_card and after.state == "paid" and now - after.created_at < YOUNG:
            await self._save_card(after)
        return True

    async def _save_card(self, payment: Payment) -> None:
        """Read the buyer's saved cards anew, since the one that paid is to be kept."""
        if payment.customer_id is None:
            return
        try:
            async with asyncio.timeout(_CARD_SECONDS):
                await self._saved(payment.customer_id)
        except StripeRefused as error:  # it won't ever say anything else
            log.warning("a card can't be saved", payment=payment.id, reason=str(error))
        except (StripeFailure, TimeoutError):
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
            is_watched = now - payment.created_at < WATCHED
            values = {
                "attention": payment.to_see(f"Stripe does not show it: {error}"[:_ATTENTION_MAX]),
                "failures": 0,
                "due_at": now + DAILY if is_watched else None,
            }
            await payments.change(connection, claimed.id, values)
        return True

    async def _failed(self, claimed: Payment, reason: str) -> None:
        """Make a payment that can't be read wait ever longer, and ask for a person in the end."""
        async with self._database.write() as connection:
            payment = await payments.lock(connection, claimed.id)
            if payment is None or payment.version != claimed.version:
                return
            failures = payment.failures + 1
            values: dict[str, Any] = {
                "failures": failures,
                "due_at": await database_now(connection) + after_failure(failures),
            }
            if failures >= ATTENTION_AFTER and not payment.attention:
                text = f"It can't be reconciled: {reason}"
                values["attention"] = payment.to_see(text[:_ATTENTION_MAX])
            await payments.change(connection, claimed.id, values)


def _of_reconciler(*, live: bool) -> ColumnElement[bool]:
    """Select the mode of our key, without attempts of auto top-up that Stripe may not know.

    Those have a job of their own.
    """
    table = tables.payments
    return table.c.live.is_(live) & or_(table.c.origin != "auto", table.c.state != "started")


def _claimed_at(claimed: Payment) -> datetime:
    """Return when a payment was claimed: what Stripe said was read after that."""
    assert claimed.due_at is not None
    return claimed.due_at - CLAIMED
