"""The accounts of keys' budgets: one a key and period, with an id that anyone can work out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from gateway.data_plane.metering.port import Period


def budget_id(key_id: str, period: str) -> str:
    """Return the id of the account of a key's budget in a period, as `period_at` names it."""
    return str(uuid.uuid5(uuid.UUID(key_id), period))


def period_at(period: Period, moment_ms: int) -> str:
    """Name the period that a moment (Unix milliseconds) lies in: `total`, or a month, `2026-11`."""
    if period == "total":
        return period
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m")


def made_at_ms(request_id: str) -> int:
    """Return when a UUIDv7 was made, in Unix milliseconds."""
    return int(request_id[:8] + request_id[9:13], 16)
