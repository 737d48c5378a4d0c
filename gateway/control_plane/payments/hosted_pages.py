"""The sites of the pages that Stripe hosts, to which our forms about money lead."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.selling import STRIPE_API_URL
from gateway.settings import Settings

_HOSTED = ("https://checkout.stripe.com", "https://billing.stripe.com")


def stripe_pages(settings: Settings) -> tuple[str, ...]:
    """Return the sites that forms about money lead to; none where nothing can be bought.

    A fake Stripe has its pages at the same site as its API.
    """
    if not settings.stripe_secret_key:
        return ()
    api_url = settings.stripe_api_url.rstrip("/")
    if api_url == STRIPE_API_URL:
        return _HOSTED
    api = urlsplit(api_url)
    return (f"{api.scheme}://{api.netloc}",)
