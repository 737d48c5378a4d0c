"""A session as the gateway opens it."""

from typing import Any

from stripe import StripeClient
from stripe.checkout import Session


def parameters(customer: str, cents: int = 2500, **more: Any) -> dict[str, Any]:
    return {
        "mode": "payment",
        "customer": customer,
        "automatic_tax": {"enabled": True},
        "tax_id_collection": {"enabled": True},
        "billing_address_collection": "required",
        "customer_update": {"address": "auto", "name": "auto"},
        "invoice_creation": {"enabled": True, "invoice_data": {"metadata": {"payment_id": "p1"}}},
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": "usd",
                    "unit_amount": cents,
                    "tax_behavior": "exclusive",
                    "product_data": {"name": "Credit"},
                },
            }
        ],
        "metadata": {"payment_id": "p1"},
        "payment_intent_data": {
            "metadata": {"payment_id": "p1"},
            "setup_future_usage": "off_session",
        },
        "success_url": "http://127.0.0.1/back?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://127.0.0.1/canceled",
        **more,
    }


async def open_session(client: StripeClient, customer: str, **more: Any) -> Session:
    return await client.v1.checkout.sessions.create_async(parameters(customer, **more))
