"""Stripe, what is sold, and what operators may move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway import selling
from gateway.settings.declaring import SECRET, Count, Natural, Seconds, text


@dataclass(frozen=True, kw_only=True)
class PaymentSettings:
    """Stripe, what is sold, and what operators may move."""

    stripe_secret_key: Annotated[
        str,
        SECRET,
        text(
            "A secret or restricted Stripe key (docs/payments.md lists the permissions it "
            "needs). Empty: nobody can buy, and only `gateway credits grant` adds credit."
        ),
    ] = ""
    stripe_webhook_secrets: Annotated[
        str,
        SECRET,
        text(
            "The signing secrets of the Stripe endpoint that calls "
            "GATEWAY_PUBLIC_URL/webhooks/stripe, separated by spaces: two while one is being "
            "replaced. Empty: there is no such route, and payments are found when the buyer "
            "returns or by the sweep."
        ),
    ] = ""
    stripe_api_url: Annotated[
        str, text("The address of Stripe's API; in test mode, a stand-in may be elsewhere.")
    ] = selling.STRIPE_API_URL
    stripe_live: Annotated[
        bool,
        text(
            "Whether payments move money. The key must be for the same mode; live mode also needs "
            "GATEWAY_SELLER, GATEWAY_TERMS, GATEWAY_SUPPORT and an https GATEWAY_PUBLIC_URL."
        ),
    ] = False
    stripe_sweep_seconds: Annotated[
        Seconds,
        text("How often unfinished payments are read from Stripe, whatever events say."),
    ] = 600.0
    stripe_tax: Annotated[
        bool, text("Whether Stripe Tax adds tax to purchases; it must be set up at Stripe.")
    ] = True
    purchases_per_hour: Annotated[
        Count,
        text("Purchases begun, and visits to Stripe's customer portal, per organization (429)."),
    ] = 60
    auto_top_ups_per_day: Annotated[
        Count,
        text("Most auto top-ups that an organization may start in 24 hours, declined or not."),
    ] = 8
    approval_dollars: Annotated[
        Natural,
        text(
            "Above this, an operator's grant, deduction or refund waits for a second operator, "
            "or for 24 hours if there is none."
        ),
    ] = 100
    operator_dollars_per_day: Annotated[
        Natural,
        text(
            "What one operator may move alone in a UTC day; anything above it waits for a second "
            "operator."
        ),
    ] = 250
    webhook_private_hosts: Annotated[
        str,
        text(
            "Exact hosts, separated by spaces, that webhooks may be sent to although they are "
            "private, over plain http too; for development and tests, not in live mode. Empty: "
            "public addresses only."
        ),
    ] = ""
