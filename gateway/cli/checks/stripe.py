"""Stripe: whether it accepts the key, for which mode that is, and whether it can call us back."""

from __future__ import annotations

from collections.abc import AsyncIterator

from gateway.cli.checks.findings import QUESTION_SECONDS, Finding, error, ok, warning
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeFailure
from gateway.settings import Settings

ABOUT = "stripe"


async def stripe(settings: Settings) -> AsyncIterator[Finding]:
    """Read the newest checkout. Without a key nothing is sold, and Stripe is not asked."""
    if not settings.stripe_secret_key:
        yield ok(ABOUT, "GATEWAY_STRIPE_SECRET_KEY is not set: no credit is sold")
        return
    api = StripeApi(
        settings.stripe_secret_key,
        api_url=settings.stripe_api_url,
        call_seconds=QUESTION_SECONDS - 1,
    )
    mode = "live" if settings.stripe_live else "test"
    try:
        await api.greet()
    except StripeFailure as failure:
        yield error(ABOUT, f"{settings.stripe_api_url}: {failure}")
        return
    finally:
        await api.close()
    yield ok(ABOUT, f"{settings.stripe_api_url} accepts the key, which is for {mode} mode")
    if settings.stripe_webhook_secrets:
        count = len(settings.stripe_webhook_secrets.split())
        yield ok(ABOUT, f"{settings.public_url}/webhooks/stripe takes events by {count} secret(s)")
    else:
        yield warning(
            ABOUT,
            "GATEWAY_STRIPE_WEBHOOK_SECRETS is not set: payments are found by the sweep, later",
        )
