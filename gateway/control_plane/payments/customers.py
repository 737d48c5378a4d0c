"""Customers at Stripe, one per organization, and the card that auto top-up charges.

- A row is written before its customer is created: the idempotency key names the organization and a
  generation, so that a lost answer makes no second customer. If the customer is deleted at Stripe,
  the next one has another key.
- The card is the newest that the customer has saved. It is read anew at Stripe (`refresh`) after
  each event about it, so the order of events does not matter.
- An early fraud warning holds an organization: it can't buy until an operator has released it. The
  warning moves no money; a refund or a dispute does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.payments import auto_top_up, payments
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeDown, StripeRefused
from gateway.control_plane.payments.stripe_objects import StripeCard, StripePaymentMethod
from gateway.errors import GatewayError
from gateway.storage.database import Database, insert_into
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import buying_holds, payment_customers

log = structlog.get_logger()

_NO_CARD = {
    "payment_method_id": None,
    "card_brand": "",
    "card_last_four": "",
    "card_expires": "",
    "card_fingerprint": "",
}
_TRIES_MAX = 3
_REASONS_MAX = 2000


class BuyingOnHold(GatewayError):
    """Buying is on hold: the card's network reported a payment of the organization as fraud."""

    status = 403
    type = "permission_error"
    code = "buying_on_hold"


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an organization as a customer, and its saved card."""

    organization_id: str
    generation: int
    customer_id: str | None
    payment_method_id: str | None
    card_brand: str
    card_last_four: str
    card_expires: str
    """The month, YYYY-MM; empty when it is unknown."""
    card_fingerprint: str
    """Stripe's fingerprint of the card, the same each time it is saved."""
    held_at: datetime | None
    held_reason: str
    changed_at: datetime


class Customers:
    """Creates customers at Stripe, and keeps what we know of them up to date."""

    def __init__(self, database: Database, stripe: StripeApi, *, return_url: str) -> None:
        self._database = database
        self._stripe = stripe
        self._return_url = return_url

    async def ensure(self, organization_id: str) -> str:
        """Return the id of an organization's customer at Stripe. Raises StripeFailure."""
        async with self._database.write() as connection:
            await _add(connection, organization_id)
            customer = await read(connection, organization_id)
        assert customer is not None
        if customer.customer_id is not None:
            return customer.customer_id
        # nothing that can change before the answer: the same key needs the same parameters
        try:
            made = await self._stripe.create_customer(
                {"metadata": {"organization_id": organization_id}},
                key=f"customer:{organization_id}:{customer.generation}",
            )
        except StripeDown as error:
            if error.is_answered:  # Stripe repeats it for a day to everyone with this key
                await self._next_generation(customer)
            raise
        async with self._database.write() as connection:
            await connection.execute(
                update(payment_customers)
                .where(
                    payment_customers.c.organization_id == organization_id,
                    payment_customers.c.generation == customer.generation,
                    payment_customers.c.customer_id.is_(None),
                )
                .values(customer_id=made.id, changed_at=wall.now())
            )
        return made.id

    async def _next_generation(self, customer: Customer) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                update(payment_customers)
                .where(
                    payment_customers.c.organization_id == customer.organization_id,
                    payment_customers.c.generation == customer.generation,
                    payment_customers.c.customer_id.is_(None),
                )
                .values(generation=customer.generation + 1, changed_at=wall.now())
            )

    async def portal(self, organization_id: str) -> str:
        """Return the address of the customer portal: invoices and cards. Raises StripeFailure."""
        customer_id = await self.ensure(organization_id)
        return (await self._stripe.create_portal(customer_id, return_url=self._return_url)).url

    async def refresh(self, customer_id: str) -> None:
        """Read a customer and its saved card anew. Raises StripeFailure."""
        for _ in range(_TRIES_MAX):
            async with self._database.read() as connection:
                known = await of_customer(connection, customer_id)
            if known is None or await self._refreshed(known, customer_id):
                return

    async def _refreshed(self, known: Customer, customer_id: str) -> bool:
        """Store what Stripe says; return False if someone changed the row in the meantime."""
        values: dict[str, Any] = _NO_CARD
        if await self._is_gone(customer_id):
            values = {"customer_id": None, "generation": known.generation + 1, **_NO_CARD}
        elif cards := await self._stripe.payment_methods(customer_id):
            values = _card(cards[0])
        if all(getattr(known, name) == value for name, value in values.items()):
            return True
        async with self._database.write() as connection:
            done = await connection.execute(
                update(payment_customers)
                .where(
                    payment_customers.c.organization_id == known.organization_id,
                    payment_customers.c.changed_at == known.changed_at,
                )
                .values(**values, changed_at=wall.now())
            )
            if done.rowcount == 1 and values["card_fingerprint"] != known.card_fingerprint:
                await auto_top_up.reassess(connection, known.organization_id)
        return done.rowcount == 1

    async def _is_gone(self, customer_id: str) -> bool:
        try:
            return (await self._stripe.customer(customer_id)).deleted
        except StripeRefused as error:
            if error.is_missing:
                return True
            raise


async def read(connection: AsyncConnection, organization_id: str) -> Customer | None:
    """Return what is known of an organization as a customer; None before it buys."""
    return await _one(connection, payment_customers.c.organization_id == organization_id)


async def of_customer(connection: AsyncConnection, customer_id: str) -> Customer | None:
    """Return what is known of a customer at Stripe; None if it is not ours."""
    return await _one(connection, payment_customers.c.customer_id == customer_id)


async def check_not_held(connection: AsyncConnection, organization_id: str) -> None:
    """Let an organization buy, unless it is held. Raises BuyingOnHold."""
    customer = await read(connection, organization_id)
    if customer is not None and customer.held_at is not None:
        raise BuyingOnHold(
            "Buying is on hold: the card network reported a payment as fraudulent. Contact support."
        )


async def warned(connection: AsyncConnection, payment_id: str, warning_id: str) -> bool:
    """Hold the buyer of a payment that a card network calls fraud; return whether that is new."""
    payment = await payments.find(connection, payment_id)
    reason = f"early fraud warning {warning_id} of payment {payment_id}"
    now = await database_now(connection)
    is_new = await hold(connection, payment.organization_id, reason, now)
    if is_new:
        log.warning("buying is on hold", organization=payment.organization_id, reason=reason)
    return is_new


async def hold(
    connection: AsyncConnection, organization_id: str, reason: str, now: datetime
) -> bool:
    """Hold an organization, once for each reason; return whether the reason is new.

    A reason that an operator has released does not hold again, however often it is repeated;
    another one that comes during a hold is kept beside the first.
    """
    await _add(connection, organization_id)
    # one at a time, so that reasons are added to one another
    mine = payment_customers.c.organization_id == organization_id
    customer = await _one(connection, mine, is_locked=True)
    assert customer is not None
    known = await connection.execute(
        insert_into(connection, buying_holds)
        .values(organization_id=organization_id, reason=reason, created_at=now)
        .on_conflict_do_nothing()
    )
    if known.rowcount == 0:
        return False
    values = {"held_at": now, "held_reason": reason}
    if customer.held_at is not None:
        reasons = f"{customer.held_reason}; {reason}"[:_REASONS_MAX]
        values = {"held_at": customer.held_at, "held_reason": reasons}
    await connection.execute(update(payment_customers).where(mine).values(**values, changed_at=now))
    return True


async def release(connection: AsyncConnection, organization_id: str, now: datetime) -> str | None:
    """Let an organization buy again; return what held it, or None if nothing did."""
    customer = await _one(
        connection, payment_customers.c.organization_id == organization_id, is_locked=True
    )
    if customer is None or customer.held_at is None:
        return None
    await connection.execute(
        update(payment_customers)
        .where(payment_customers.c.organization_id == organization_id)
        .values(held_at=None, changed_at=now)
    )
    await connection.execute(
        update(buying_holds)
        .where(
            buying_holds.c.organization_id == organization_id, buying_holds.c.released_at.is_(None)
        )
        .values(released_at=now)
    )
    return customer.held_reason


async def held(connection: AsyncConnection, limit: int) -> list[Customer]:
    """Return customers that are held, the longest held first."""
    query = _selection().where(payment_customers.c.held_at.is_not(None))
    found = await connection.execute(query.order_by(payment_customers.c.held_at).limit(limit))
    return [Customer(**row) for row in found.mappings()]


async def _add(connection: AsyncConnection, organization_id: str) -> None:
    await connection.execute(
        insert_into(connection, payment_customers)
        .values(
            organization_id=organization_id,
            generation=1,
            held_reason="",
            changed_at=wall.now(),
            **_NO_CARD,
        )
        .on_conflict_do_nothing()
    )


def _card(method: StripePaymentMethod) -> dict[str, Any]:
    card = method.card or StripeCard()
    return {
        "payment_method_id": method.id,
        "card_brand": card.brand or "",
        "card_last_four": card.last4 or "",
        "card_expires": card.expires,
        # without a fingerprint, the id tells cards apart
        "card_fingerprint": card.fingerprint or method.id,
    }


async def _one(
    connection: AsyncConnection, condition: Any, *, is_locked: bool = False
) -> Customer | None:
    query = _selection().where(condition)
    if is_locked:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Customer(**row)


def _selection() -> Any:
    return select(*(payment_customers.c[name] for name in Customer.__struct_fields__))
