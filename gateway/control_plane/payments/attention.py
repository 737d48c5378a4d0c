"""What an operator must look at: held buyers, payments that don't add up, open disputes."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments import customers
from gateway.control_plane.payments.payments import NoSuchPayment, change, lock
from gateway.control_plane.payments.refunds import OPEN_DISPUTES
from gateway.identifiers import is_id
from gateway.storage.tables import payment_disputes, payments

LISTED_MAX = 200
"""Most entries of one kind that are listed."""


class NeedsAttention(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, each list bounded by LISTED_MAX."""

    held: list[HeldCustomer]
    payments: list[OddPayment]
    disputes: list[OpenDispute]


class HeldCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """An organization that may not buy until an operator releases it."""

    organization_id: str
    held_at: datetime
    reason: str


class OddPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that someone must look at, and why."""

    payment_id: str
    organization_id: str
    state: str
    attention: str
    created_at: datetime


class OpenDispute(msgspec.Struct, frozen=True, kw_only=True):
    """A dispute that is not decided; evidence counts until `evidence_due_at`."""

    dispute_id: str
    payment_id: str
    status: str
    reason: str
    amount_cents: int
    evidence_due_at: datetime | None


async def seen(connection: AsyncConnection, payment_id: str) -> str:
    """Note that an operator has seen why a payment needs attention; return that reason.

    The payment is listed again only for another reason. Raises NoSuchPayment.
    """
    payment = await lock(connection, payment_id) if is_id(payment_id) else None
    if payment is None:
        raise NoSuchPayment(f"There is no payment {payment_id[:80]!r}.")
    if payment.attention:
        await change(connection, payment.id, {"attention": "", "seen": payment.attention})
    return payment.attention


async def needed(connection: AsyncConnection) -> NeedsAttention:
    """Return what needs an operator now."""
    held = await customers.held(connection, LISTED_MAX)
    odd = await connection.execute(
        select(
            payments.c.id,
            payments.c.organization_id,
            payments.c.state,
            payments.c.attention,
            payments.c.created_at,
        )
        .where(payments.c.attention != literal_column("''"))  # in the words of its index
        .order_by(payments.c.id.desc())
        .limit(LISTED_MAX)
    )
    disputed = await connection.execute(
        select(payment_disputes)
        .where(
            payment_disputes.c.status.in_(OPEN_DISPUTES)
            | payment_disputes.c.status.startswith("warning_needs")
        )
        .order_by(payment_disputes.c.evidence_due_at, payment_disputes.c.id)
        .limit(LISTED_MAX)
    )
    return NeedsAttention(
        held=[
            HeldCustomer(
                organization_id=one.organization_id, held_at=one.held_at, reason=one.held_reason
            )
            for one in held
            if one.held_at is not None
        ],
        payments=[
            OddPayment(
                payment_id=row.id,
                organization_id=row.organization_id,
                state=row.state,
                attention=row.attention,
                created_at=row.created_at,
            )
            for row in odd
        ],
        disputes=[
            OpenDispute(
                dispute_id=row.id,
                payment_id=row.payment_id,
                status=row.status,
                reason=row.reason,
                amount_cents=row.amount_cents,
                evidence_due_at=row.evidence_due_at,
            )
            for row in disputed
        ],
    )
