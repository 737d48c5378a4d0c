"""The fake Stripe of `gateway dev`: it sells credit, moves no money, and forgets at each start."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from gateway.fake_stripe.serving import serving
from gateway.fake_stripe.store import SECRET_KEY
from gateway.settings import Settings, variable

_FIELDS = ("stripe_secret_key", "stripe_webhook_secrets", "stripe_api_url")
_SWEEP_SECONDS = 30.0  # short, since a fake that was started anew has forgotten older payments


@asynccontextmanager
async def fake_stripe(settings: Settings) -> AsyncIterator[Settings]:
    """Serve a fake Stripe while the block runs; yield settings that sell credit through it."""
    secret = f"whsec_{secrets.token_hex(16)}"
    async with serving() as fake:
        fake.listen(f"{settings.public_url}/webhooks/stripe", secret)
        yield replace(
            settings,
            stripe_secret_key=SECRET_KEY,
            stripe_webhook_secrets=secret,
            stripe_api_url=fake.url,
            stripe_sweep_seconds=_SWEEP_SECONDS,
        )


def stripe_variables(settings: Settings) -> dict[str, str]:
    """Return the variables that other commands need to reach the fake; none for a real Stripe."""
    if settings.stripe_secret_key != SECRET_KEY:
        return {}
    return {variable(field): getattr(settings, field) for field in _FIELDS}
