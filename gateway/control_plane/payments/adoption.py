"""Payments found at Stripe by their metadata: their rows get Stripe's ids, or are added.

Only our key can write that metadata. A row is missing when the database is older than the payment,
for example after a restore.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.control_plane.payments.stripe_objects import StripeIntent, StripeSession
from gateway.identifiers import is_id
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import organizations

log = structlog.get_logger()

SECOND = "Stripe has a second payment that names it: "
"""What an operator is told until the second one's metadata is changed at Stripe."""
CREDIT_CENTS_MAX = 500_000
"""Most credit that metadata may claim: the most that can be bought at once."""


async def adopt(connection: AsyncConnection, found: StripeIntent | StripeSession) -> str | None:
    """Connect an object at Stripe with its payment; return the payment's id, None if not ours.

    A payment that learned something by this is due now.
    """
    metadata = found.metadata or {}
    payment_id = metadata.get("payment_id", "")
    if not is_id(payment_id):
        return None
    payment = await payments.lock(connection, payment_id)
    if payment is None:
        return await _add(connection, payment_id, metadata, found)
    column = "intent_id" if isinstance(found, StripeIntent) else "session_id"
    ids = {column: found.id}
    if isinstance(found, StripeSession) and found.payment_intent:
        ids["intent_id"] = found.payment_intent
    return await _attach(connection, payment, ids)


async def _attach(
    connection: AsyncConnection, payment: Payment, ids: Mapping[str, str]
) -> str | None:
    """Give a payment the ids it lacks, and make it due if it lacked some."""
    for name, value in ids.items():
        if getattr(payment, name) not in (None, value):
            log.error("two objects at Stripe name one payment", payment=payment.id, other=value)
            attention = payment.to_see(f"{SECOND}{value}.")
            await payments.change(connection, payment.id, {"attention": attention})
            return None
    new: dict[str, Any] = {name: ids[name] for name in ids if getattr(payment, name) is None}
    if new:
        # an auto top-up is left to its job, which knows what a waiting card means
        if payment.state == "started" and payment.origin != "auto":
            new["state"] = "open"
        now = await database_now(connection)
        await payments.change(connection, payment.id, {**new, "due_at": now})
    return payment.id


async def _add(
    connection: AsyncConnection,
    payment_id: str,
    metadata: Mapping[str, str],
    found: StripeIntent | StripeSession,
) -> str | None:
    """Add the row of a payment that only Stripe knows, if its organization exists."""
    organization_id, cents = metadata.get("organization_id", ""), metadata.get("credit_cents", "")
    if not is_id(organization_id) or not cents.isascii() or not cents.isdigit():
        return None
    known = select(organizations.c.id).where(organizations.c.id == organization_id)
    if not 0 < int(cents) <= CREDIT_CENTS_MAX or await connection.scalar(known) is None:
        log.error("a payment at Stripe names no organization of ours", payment=payment_id)
        return None
    now = await database_now(connection)
    is_intent = isinstance(found, StripeIntent)
    await payments.add(
        connection,
        Payment(
            id=payment_id,
            organization_id=organization_id,
            origin="found",
            state="open",
            credit_nanos=int(cents) * CENT_NANOS,
            amount_cents=int(cents),
            live=found.livemode,
            customer_id=found.customer,
            session_id=None if is_intent else found.id,
            intent_id=found.id if isinstance(found, StripeIntent) else found.payment_intent,
            due_at=now,
            created_at=datetime.fromtimestamp(found.created, UTC),
            changed_at=now,
        ),
    )
    log.warning("a payment was found at Stripe that had no row", payment=payment_id)
    return payment_id
