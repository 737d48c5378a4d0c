"""How long a request may take and whether it may wait, from its headers and its body.

- `x-stainless-read-timeout`, which OpenAI's SDKs send: what would miss it is refused at once
- `Prefer: wait=N` (RFC 7240): how long to hold the request while no worker of its model is ready
- `service_tier: "flex"` or `X-Tier: batch`: a lower price, and a lower priority

A header that can't be parsed is ignored.
"""

from __future__ import annotations

import math
import re

import msgspec

from gateway.data_plane.api.exchange import Exchange
from gateway.snapshots import Tier

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds; see `gateway.settings`."""

    timeout_seconds: float
    hold_seconds: float
    hold_seconds_max: float


class Urgency(msgspec.Struct, frozen=True, kw_only=True):
    """What one request asks for, clamped to the bounds."""

    deadline: float
    """On `time.monotonic()`, seconds."""
    hold_seconds: float


def tier_of(exchange: Exchange, service_tier: str | None) -> Tier:
    """Return `flex` if the request accepts a lower priority at a lower price."""
    batch = (exchange.header("x-tier") or "").strip().lower() == "batch"
    return "flex" if batch or service_tier == "flex" else "default"


def urgency_of(exchange: Exchange, patience: Patience) -> Urgency:
    """Return the deadline and the hold time of a request."""
    timeout = _seconds(exchange.header("x-stainless-read-timeout")) or math.inf
    wait = _WAIT.search(exchange.header("prefer") or "")
    hold = float(wait[1]) if wait else patience.hold_seconds
    return Urgency(
        deadline=exchange.started + min(timeout, patience.timeout_seconds),
        hold_seconds=min(hold, patience.hold_seconds_max),
    )


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None
