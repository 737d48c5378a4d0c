"""Signing in, sessions, organizations, and the credit of new accounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import SECRET, Count, Natural, Seconds, text


@dataclass(frozen=True, kw_only=True)
class AccountSettings:
    """Signing in, sessions, organizations, and the credit of new accounts."""

    github_client_id: Annotated[
        str,
        text(
            "The client ID of the OAuth application for signing in with GitHub. Its callback URL "
            "is GATEWAY_PUBLIC_URL/sign-in/github/callback. Empty: no GitHub sign-in."
        ),
    ] = ""
    github_client_secret: Annotated[str, SECRET, text("The OAuth application's client secret.")] = (
        ""
    )
    github_url: Annotated[str, text("GitHub's web address; an Enterprise server has its own.")] = (
        "https://github.com"
    )
    github_api_url: Annotated[
        str, text("GitHub's REST API; https://HOST/api/v3 on an Enterprise server.")
    ] = "https://api.github.com"
    session_seconds: Annotated[Seconds, text("How long a session lasts.")] = 2_592_000.0
    session_rotation_seconds: Annotated[Seconds, text("How often a session's cookie changes.")] = (
        3_600.0
    )
    organization_members_max: Annotated[Count, text("Most members per organization (400).")] = 100
    signup_credit_nanos: Annotated[
        Natural, text("Free credit for a verified address, once, in nano-dollars.")
    ] = 250_000_000
    signup_credit_days: Annotated[Count, text("Days until unused sign-up credit expires.")] = 30
    promotion_nanos_per_day: Annotated[
        Natural, text("Most free credit per day, in nano-dollars; raise it for a large launch.")
    ] = 50_000_000_000
    promotion_share_nanos_per_day: Annotated[
        Natural,
        text(
            "Most free credit per day to new accounts from one network (a /24 or a /48), or from "
            "one email domain that isn't a mailbox provider's; in nano-dollars."
        ),
    ] = 10_000_000_000
