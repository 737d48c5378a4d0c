"""How API keys are looked up, and how many an organization has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import Count, Seconds, text


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """How API keys are looked up, and how many an organization has."""

    key_cache_entries: Annotated[Count, text("Most API keys kept in memory.")] = 100_000
    key_cache_seconds: Annotated[Seconds, text("How long a key is cached before it is reread.")] = (
        60.0
    )
    key_stale_seconds: Annotated[
        Seconds, text("How long keys keep working without the database.")
    ] = 3_600.0
    key_wait_seconds: Annotated[
        Seconds, text("How long a request with an unknown key waits for the database (503).")
    ] = 0.25
    key_retry_seconds: Annotated[
        Seconds,
        text(
            "How long to wait before asking the database for keys again after it did not respond."
        ),
    ] = 2.0
    unknown_keys_per_minute: Annotated[
        Count,
        text(
            "Unknown keys that clients from one network (a /24, or a /48 of IPv6) may try while "
            "keys from version 0.1 are in use (429)."
        ),
    ] = 120
    revocation_poll_seconds: Annotated[Seconds, text("How often changed keys are read.")] = 0.5
    organization_keys_max: Annotated[
        Count, text("Most unrevoked keys of one organization, and most it creates per day (400).")
    ] = 100
