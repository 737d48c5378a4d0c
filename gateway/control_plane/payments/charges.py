"""Charges of a saved card: the parameters of the requests to Stripe.

They come from the row, so that they are the same each time: Stripe refuses an idempotency key that
comes with other parameters. Only the receipt's mail address does not, as we store no copies of
addresses. If an owner changes it while an answer is lost, the attempt is looked for at Stripe.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments.payments import Payment
from gateway.storage.tables import memberships, users


def tax_parameters(payment: Payment) -> dict[str, Any]:
    """Return the parameters of a tax calculation."""
    line = {"amount": payment.amount_cents, "reference": "credit", "tax_behavior": "exclusive"}
    return {"currency": "usd", "customer": payment.customer_id, "line_items": [line]}


def intent_parameters(payment: Payment, receipt_email: str | None) -> dict[str, Any]:
    """Return the parameters of a payment intent: confirmed at once, with a receipt by mail."""
    parameters: dict[str, Any] = {
        "amount": payment.amount_cents + payment.tax_cents,
        "currency": "usd",
        "customer": payment.customer_id,
        "payment_method": payment.payment_method_id,
        # nobody is there to be sent to a bank's page
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "off_session": True,
        "confirm": True,
        "metadata": {
            "payment_id": payment.id,
            "organization_id": payment.organization_id,
            "credit_cents": str(payment.amount_cents),
        },
    }
    if receipt_email is not None:
        parameters["receipt_email"] = receipt_email
    if payment.tax_calculation_id is not None:
        parameters["hooks"] = {"inputs": {"tax": {"calculation": payment.tax_calculation_id}}}
    return parameters


async def receipt_email(connection: AsyncConnection, organization_id: str) -> str | None:
    """Return the address of the owner who has been here longest."""
    query = (
        select(users.c.email)
        .join(memberships, memberships.c.user_id == users.c.id)
        .where(
            memberships.c.organization_id == organization_id,
            memberships.c.role == "owner",
            users.c.email.is_not(None),
        )
        .order_by(users.c.id)
        .limit(1)
    )
    return await connection.scalar(query)
