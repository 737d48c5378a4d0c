"""Stripe for tests: the SDK's client, for the fake account that `fake_stripe` serves."""

import contextlib
from collections.abc import AsyncIterator

import stripe

from gateway.fake_stripe.serving import serving as fake_stripe
from gateway.fake_stripe.store import SECRET_KEY

__all__ = ["fake_stripe", "stripe_client"]


@contextlib.asynccontextmanager
async def stripe_client(
    url: str, key: str = SECRET_KEY, timeout_seconds: float = 10
) -> AsyncIterator[stripe.StripeClient]:
    """Give the SDK's client, with no retries of its own."""
    http = stripe.HTTPXClient(timeout=timeout_seconds, verify_ssl_certs=False)  # plain HTTP
    try:
        yield stripe.StripeClient(
            key, base_addresses={"api": url}, http_client=http, max_network_retries=0
        )
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]
