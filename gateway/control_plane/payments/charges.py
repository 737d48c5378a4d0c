"""Charges of a saved card: what Stripe is asked, and why a card was declined.

What is asked comes from the row and from nothing else, so that it is the same each time: Stripe
refuses a key that comes with other parameters.
"""

from __future__ import annotations

from typing import Any

from gateway.control_plane.payments.auto_top_up import AUTHENTICATION
from gateway.control_plane.payments.payments import Payment


def tax_parameters(payment: Payment) -> dict[str, Any]:
    """Return what a tax calculation is asked with."""
    line = {"amount": payment.amount_cents, "reference": "credit", "tax_behavior": "exclusive"}
    return {"currency": "usd", "customer": payment.customer_id, "line_items": [line]}


def intent_parameters(payment: Payment) -> dict[str, Any]:
    """Return what a payment intent is asked with: confirmed at once."""
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
    if payment.tax_calculation_id is not None:
        parameters["hooks"] = {"inputs": {"tax": {"calculation": payment.tax_calculation_id}}}
    return parameters


def decline(code: str, decline_code: str) -> str:
    """Return why a card was declined, in one word: the bank's, else Stripe's."""
    if AUTHENTICATION in (code, decline_code):
        return AUTHENTICATION
    return decline_code or code
