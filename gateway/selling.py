"""What the settings must say before credit is sold: each mistake is one sentence.

It names the variable and never a secret's value. Live mode moves money, so it is stricter: it talks
to Stripe itself, shows buyers who sells, and is reached by TLS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

STRIPE_API_URL = "https://api.stripe.com"

_KEY = re.compile(r"(?:sk|rk)_(test|live)_\w+")
_WEBHOOK_SECRET = re.compile(r"whsec_\S+")
_LIVE_WEBHOOK_SECRET = re.compile(r"whsec_\S{16,}")
_SITE = re.compile(r"https?://(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?/?", re.ASCII)
_PAGE = re.compile(r"https?://[^\s\"'<>]+")


class Selling(msgspec.Struct, frozen=True):
    """The settings that matter."""

    stripe_secret_key: str
    stripe_webhook_secrets: str
    stripe_api_url: str
    stripe_live: bool
    webhook_private_hosts: str
    public_url: str
    seller: str
    terms: str
    support: str


def mistakes(settings: Selling) -> Iterator[str]:
    """Yield what is wrong, the first thing to mend first."""
    secrets = settings.stripe_webhook_secrets.split()
    if not all(_WEBHOOK_SECRET.fullmatch(secret) for secret in secrets):
        yield "GATEWAY_STRIPE_WEBHOOK_SECRETS: each must start with whsec_, and go on"
    if not _is_site(settings.stripe_api_url):
        yield (
            "GATEWAY_STRIPE_API_URL must be https://host or http://host, with a port if it has "
            "one, and nothing else"
        )
    if not settings.stripe_secret_key:
        if settings.stripe_live or secrets:
            yield "GATEWAY_STRIPE_SECRET_KEY is not set, but other settings need it"
        return
    yield from _of_the_key(settings)
    if settings.stripe_live:
        yield from _of_live_mode(settings)


def _of_the_key(settings: Selling) -> Iterator[str]:
    key = _KEY.fullmatch(settings.stripe_secret_key)
    if key is None:
        yield (
            "GATEWAY_STRIPE_SECRET_KEY: a secret key starts with sk_test_ or sk_live_, a "
            "restricted one with rk_test_ or rk_live_"
        )
    elif (key[1] == "live") != settings.stripe_live:
        wanted = "true" if settings.stripe_live else "false"
        yield (
            f"GATEWAY_STRIPE_SECRET_KEY is a key of {key[1]} mode, but GATEWAY_STRIPE_LIVE is "
            f"{wanted}"
        )


def _of_live_mode(settings: Selling) -> Iterator[str]:
    secrets = settings.stripe_webhook_secrets.split()
    if not all(_LIVE_WEBHOOK_SECRET.fullmatch(secret) for secret in secrets):
        yield "GATEWAY_STRIPE_WEBHOOK_SECRETS: each must have 16 characters or more after whsec_"
    shown = {
        "GATEWAY_SELLER": settings.seller,
        "GATEWAY_TERMS": settings.terms,
        "GATEWAY_SUPPORT": settings.support,
    }
    if missing := [name for name, value in shown.items() if not value]:
        yield f"GATEWAY_STRIPE_LIVE needs {', '.join(missing)}: buyers must see them"
    if not settings.public_url.startswith("https://"):
        yield "GATEWAY_STRIPE_LIVE needs a GATEWAY_PUBLIC_URL that starts with https://"
    if settings.stripe_api_url.rstrip("/") != STRIPE_API_URL:
        yield f"GATEWAY_STRIPE_LIVE needs GATEWAY_STRIPE_API_URL to be {STRIPE_API_URL}"
    if settings.webhook_private_hosts:
        yield "GATEWAY_STRIPE_LIVE needs GATEWAY_WEBHOOK_PRIVATE_HOSTS to be empty"


def is_page(url: str) -> bool:
    """Tell whether a link may lead to an address."""
    return _PAGE.fullmatch(url) is not None


def _is_site(url: str) -> bool:
    """Tell whether an address names a host, and nothing that a policy or a log would repeat."""
    if not _SITE.fullmatch(url):
        return False
    try:
        return urlsplit(url).port != 0
    except ValueError:  # no port, or no address
        return False
