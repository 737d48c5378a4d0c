"""Evidence for a dispute: who bought, what the receipt says, and how the credit was used since.

Everything comes from rows that exist anyway. Only sign-ins whose sessions have not expired are
included; older ones are deleted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.billing import usage
from gateway.control_plane.billing.usage import Filter, Sum
from gateway.control_plane.payments.payments import NoSuchPayment
from gateway.identifiers import is_id
from gateway.storage.tables import (
    credit_lots,
    memberships,
    organizations,
    payment_disputes,
    payments,
    sessions,
    users,
)

_SIGN_INS_MAX = 1_000


class DisputeEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What can be shown to a bank about one payment."""

    receipt: PaymentReceipt
    organization_id: str
    organization_name: str
    buyer_email: str
    """Empty for an auto top-up, and for a person who has deleted their account."""
    terms_url: str
    """The terms in force now, to which the buying page links."""
    disputes: list[DisputeClaim]
    credit_left_nanos: int
    """What is left of the credit that this payment bought."""
    usage: list[Sum]
    """What the organization used since it paid, by UTC day."""
    sign_ins: list[SignIn]


class PaymentReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was bought, and what Stripe's documents for it say."""

    payment_id: str
    intent_id: str | None
    charge_id: str | None
    origin: str
    state: str
    credit_nanos: int
    amount_cents: int
    tax_cents: int
    received_cents: int
    refunded_cents: int
    disputed_cents: int
    invoice_number: str
    invoice_url: str
    receipt_url: str
    tax_id: str
    country: str
    created_at: datetime
    paid_at: datetime | None


class SignIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session of a member of the organization, and when it began."""

    email: str
    signed_in_at: datetime


class DisputeClaim(msgspec.Struct, frozen=True, kw_only=True):
    """What the cardholder claims, and until when the claim can be answered."""

    id: str
    status: str
    reason: str
    amount_cents: int
    evidence_due_at: datetime | None


async def collect(
    connection: AsyncConnection, payment_id: str, *, terms_url: str
) -> DisputeEvidence:
    """Return the evidence for a payment. Raises NoSuchPayment."""
    found = await _payment(connection, payment_id)
    since = (found.paid_at or found.created_at).astimezone(UTC)
    left = await connection.scalar(
        select(credit_lots.c.remaining_nanos).where(
            credit_lots.c.source_ref == f"payment:{payment_id}"
        )
    )
    return DisputeEvidence(
        receipt=PaymentReceipt(
            payment_id=found.id,
            **{name: getattr(found, name) for name in PaymentReceipt.__struct_fields__[1:]},
        ),
        organization_id=found.organization_id,
        organization_name=found.organization_name,
        buyer_email=found.buyer_email or "",
        terms_url=terms_url,
        disputes=await _disputes(connection, payment_id),
        credit_left_nanos=left or 0,
        usage=await usage.sums(
            connection, found.organization_id, Filter(since=since.date()), by="day"
        ),
        sign_ins=await _sign_ins(connection, found.organization_id),
    )


async def _payment(connection: AsyncConnection, payment_id: str) -> Row[Any]:
    query = (
        select(
            payments,
            organizations.c.name.label("organization_name"),
            users.c.email.label("buyer_email"),
        )
        .join(organizations, organizations.c.id == payments.c.organization_id)
        .join(users, users.c.id == payments.c.user_id, isouter=True)
        .where(payments.c.id == payment_id)
    )
    found = (await connection.execute(query)).one_or_none() if is_id(payment_id) else None
    if found is None:
        raise NoSuchPayment(f"There is no payment {payment_id[:80]!r}.")
    return found


async def _disputes(connection: AsyncConnection, payment_id: str) -> list[DisputeClaim]:
    columns = [payment_disputes.c[name] for name in DisputeClaim.__struct_fields__]
    query = select(*columns).where(payment_disputes.c.payment_id == payment_id)
    found = await connection.execute(query.order_by(payment_disputes.c.created_at))
    return [DisputeClaim(**row) for row in found.mappings()]


async def _sign_ins(connection: AsyncConnection, organization_id: str) -> list[SignIn]:
    query = (
        select(users.c.email, sessions.c.created_at.label("signed_in_at"))
        .join(users, users.c.id == sessions.c.user_id)
        .join(memberships, memberships.c.user_id == users.c.id)
        .where(memberships.c.organization_id == organization_id, users.c.email.is_not(None))
        .order_by(sessions.c.created_at)
        .limit(_SIGN_INS_MAX)
    )
    return [SignIn(**row) for row in (await connection.execute(query)).mappings()]
