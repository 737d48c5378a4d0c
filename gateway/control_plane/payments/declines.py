"""Why a card was declined."""

from __future__ import annotations

AUTHENTICATION = "authentication_required"
"""The bank wants to ask the cardholder, who isn't there."""


def decline(code: str, decline_code: str) -> str:
    """Return why a card was declined, in one word: the bank's, else Stripe's."""
    if AUTHENTICATION in (code, decline_code):
        return AUTHENTICATION
    return decline_code or code
