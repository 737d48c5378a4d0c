"""How API keys are looked up, and how many an organization has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import Count, Seconds, text


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """How API keys are looked up, and how many an organization has."""

    key_cache_entries: Annotated[Count, text("Most API keys kept in memory.")] = 100_000
    key_cache_seconds: Annotated[Seconds, text("How long a key is used before it is reread.")] = (
        60.0
    )
    key_stale_seconds: Annotated[Seconds, text("How long keys work without the database.")] = (
        3_600.0
    )
    key_wait_seconds: Annotated[
        Seconds, text("How long a request waits for the database to tell an unknown key (503).")
    ] = 0.25
    key_retry_seconds: Annotated[
        Seconds, text("How long the database is not asked for keys after it did not answer.")
    ] = 2.0
    unknown_keys_per_minute: Annotated[
        Count,
        text(
            "Unknown keys that clients of one network (/24, or /48 of IPv6) may try, where keys of "
            "version 0.1 are in use (429)."
        ),
    ] = 120
    revocation_poll_seconds: Annotated[Seconds, text("How often changed keys are read.")] = 0.5
    organization_keys_max: Annotated[
        Count, text("Most unrevoked keys of one organization, and most it creates per day (400).")
    ] = 100
