"""What Stripe's events lead to: their payment becomes due, or their buyer is read anew.

Amounts and states are never taken from an event, so their order does not matter, and repeating one
only costs a reading. Events whose payment is known are routed in batches of twenty, each in one
transaction; only an event that names nothing we know makes us ask Stripe.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments import adoption, customers, payments, stored_events
from gateway.control_plane.payments.events import PAYMENT_EVENTS, StripeEvent
from gateway.control_plane.payments.outage import Outage
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeDown, StripeFailure, StripeRefused
from gateway.storage import tables
from gateway.storage.database import Database, DatabaseAway
from gateway.storage.ledger.postings import database_now

log = structlog.get_logger()

BATCH = 20
"""Events that are routed in one transaction: on SQLite, the webhook waits for it."""
AT_ONCE = 4
"""Events about which one process asks Stripe at the same time."""
EVENT_SECONDS = 8.0
"""Most time for one of those events."""


class EventRoutes:
    """Routes stored events; `reread` reads a customer and the saved card anew."""

    def __init__(
        self, database: Database, api: StripeApi, reread: Callable[[str], Awaitable[None]]
    ) -> None:
        self._database = database
        self._api = api
        self._reread = reread
        self.outage = Outage()
        """What the last run met with at Stripe."""

    async def run(self, ends: float) -> int:
        """Route what is due until a moment of the monotonic clock; return how many events.

        When Stripe does not answer for one, the others that need it wait for a minute.
        """
        routed, outage = 0, Outage()
        self.outage = outage
        while monotonic() < ends and not outage.is_on:
            async with self._database.read() as connection:  # avoid the write lock
                if not await _any_due(connection):
                    break
            async with self._database.write() as connection:
                events = await stored_events.claim(connection, BATCH)
                left = await _make_due(connection, events)
            await self._route_all(left, ends, outage)
            routed += len(events)
            if len(events) < BATCH:
                break
        return routed

    async def _route_all(self, events: Sequence[StripeEvent], ends: float, outage: Outage) -> None:
        """Route events that need Stripe, a few at once; what is not reached waits for a minute."""
        left = deque(events)

        async def route() -> None:
            while left and monotonic() < ends and not outage.is_on:
                await self._route(left.popleft(), outage)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(events))):
                    group.create_task(route())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _route(self, event: StripeEvent, outage: Outage) -> None:
        """Route one event; one that fails is tried later and stops no other."""
        try:
            async with asyncio.timeout(EVENT_SECONDS):
                await self._act(event)
        except StripeRefused as error:
            # its object no longer exists, or was never ours
            log.warning("an event leads to nothing", stripe_event=event.id, reason=str(error))
        except StripeFailure as error:
            outage.note(error)
            await self._put_off(event, str(error))
            return
        except TimeoutError:
            outage.note(StripeDown("Stripe did not answer in time"))
            await self._put_off(event, "Stripe did not answer in time")
            return
        except DatabaseAway:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the others go on
            reason = f"{type(error).__name__}: {error}"
            log.error("an event can't be routed", stripe_event=event.id, reason=reason)
            await self._put_off(event, reason)
            return
        outage.over()
        async with self._database.write() as connection:
            await stored_events.finish(connection, [event.id])

    async def _put_off(self, event: StripeEvent, reason: str) -> None:
        async with self._database.write() as connection:
            if not await stored_events.put_off(connection, event.id, reason):
                log.error("an event was given up", stripe_event=event.id, reason=reason)

    async def _act(self, event: StripeEvent) -> None:
        """Do what an event of a type means. Raises StripeFailure."""
        match event.type:
            # a checkout ended: paid, or its slow payment has begun, which brings no money yet
            case "checkout.session.completed":
                await self._about_payment(event)
            # a slow payment, such as a bank debit, arrived or failed days later
            case (
                "checkout.session.async_payment_succeeded" | "checkout.session.async_payment_failed"
            ):
                await self._about_payment(event)
            # nobody paid in time, and nobody can anymore
            case "checkout.session.expired":
                await self._about_payment(event)
            # money arrived, Stripe entered it in its balance (which may be later), an attempt
            # failed, it takes days, or it was given up
            case (
                "payment_intent.succeeded"
                | "charge.updated"
                | "payment_intent.payment_failed"
                | "payment_intent.processing"
                | "payment_intent.canceled"
            ):
                await self._about_payment(event)
            # money goes back, by us or in Stripe's dashboard; it may still fail, which undoes it
            case (
                "charge.refunded"
                | "charge.refund.updated"
                | "refund.created"
                | "refund.updated"
                | "refund.failed"
            ):
                await self._about_payment(event)
            # a bank asks for the money, has decided, or the money moved because of it
            case (
                "charge.dispute.created"
                | "charge.dispute.updated"
                | "charge.dispute.closed"
                | "charge.dispute.funds_withdrawn"
                | "charge.dispute.funds_reinstated"
            ):
                await self._about_payment(event)
            # a card network suspects fraud: no money moves, but nothing more is sold for now
            case "radar.early_fraud_warning.created":
                await self._warned(event)
            # a card was saved, removed, or renewed by its bank
            case (
                "payment_method.attached"
                | "payment_method.detached"
                | "payment_method.automatically_updated"
                | "setup_intent.succeeded"
            ):
                await self._about_buyer(event)
            # someone deleted the customer in Stripe's dashboard: the next purchase makes another
            case "customer.deleted":
                await self._about_buyer(event)
            case _:
                log.warning("an event of a type that is not routed", type=event.type)

    async def _about_payment(self, event: StripeEvent) -> str | None:
        """Find the payment of an event at Stripe, and make it due; return its id."""
        intent_id = event.intent_id or await self._api.intent_of(event.object_id)
        found = (
            await self._api.intent(intent_id)
            if intent_id
            # a checkout that nobody tried to pay has no intent
            else await self._api.session(event.object_id)
            if event.object_id.startswith("cs_")
            else None
        )
        if found is None:
            return None
        async with self._database.write() as connection:
            payment_id = await adoption.adopt(connection, found)
            if payment_id is not None:
                await payments.make_due(connection, payment_id, await database_now(connection))
        return payment_id

    async def _warned(self, event: StripeEvent) -> None:
        """Hold the buyer of a payment that a card network calls fraud."""
        payment_id = await self._about_payment(event)
        if payment_id is not None:
            async with self._database.write() as connection:
                await customers.warned(connection, payment_id, event.object_id)

    async def _about_buyer(self, event: StripeEvent) -> None:
        """Read a buyer and the saved card anew; Stripe no longer says whose a removed card was."""
        customer_id = event.customer_id
        async with self._database.read() as connection:
            if customer_id is None:
                customer_id = await _customer_of_card(connection, event.object_id)
        if customer_id is None and not event.type.endswith(".detached"):
            customer_id = await self._customer_at_stripe(event)
        if customer_id is not None:
            await self._reread(customer_id)

    async def _customer_at_stripe(self, event: StripeEvent) -> str | None:
        if not event.object_id.startswith("pm_"):
            return None
        return (await self._api.payment_method(event.object_id)).customer


async def _any_due(connection: AsyncConnection) -> bool:
    now = await database_now(connection)
    query = select(tables.stripe_events.c.id).where(tables.stripe_events.c.due_at <= now).limit(1)
    return await connection.scalar(query) is not None


async def _make_due(
    connection: AsyncConnection, events: Sequence[StripeEvent]
) -> list[StripeEvent]:
    """Make the payments due that events name and we know; return the other events."""
    about = [event for event in events if event.type in PAYMENT_EVENTS]
    table = tables.payments.c
    names = {
        table.id: {event.payment_id for event in about if event.payment_id},
        table.intent_id: {event.intent_id for event in about if event.intent_id},
        table.session_id: {event.object_id for event in about if event.object_id[:3] == "cs_"},
    }
    # a payment without an id at Stripe must first get one, from the event's object
    is_connected = table.session_id.is_not(None) | table.intent_id.is_not(None)
    known: dict[str, str] = {}
    for column, values in names.items():
        if values:
            query = select(column, table.id).where(column.in_(values), is_connected)
            found = await connection.execute(query)
            known |= {str(name): str(payment_id) for name, payment_id in found}
    routed = {}
    for event in about:
        for name in (event.intent_id, event.object_id, event.payment_id):
            if name in known:
                routed[event.id] = known[name]
                break
    now = await database_now(connection)
    for payment_id in sorted(set(routed.values())):  # one order, so that processes can't deadlock
        await payments.make_due(connection, payment_id, now)
    if routed:
        await stored_events.finish(connection, list(routed))
    return [event for event in events if event.id not in routed]


async def _customer_of_card(connection: AsyncConnection, method_id: str) -> str | None:
    saved = tables.payment_customers.c
    found: str | None = await connection.scalar(
        select(saved.customer_id).where(saved.payment_method_id == method_id)
    )
    return found
