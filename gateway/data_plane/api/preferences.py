"""How long a request may take and whether it may wait, from its headers and its body.

- `x-stainless-read-timeout`, which OpenAI's SDKs send: a request that would miss it is refused at
  once
- `Prefer: wait=N` (RFC 7240): how long to hold the request while no worker of its model is ready
- `service_tier: "flex"` or `X-Tier: batch`: a lower price, and a lower priority

A header that can't be parsed is ignored.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import msgspec

from gateway.data_plane.api.exchange import Exchange
from gateway.snapshots import Tier

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds; see `gateway.settings`."""

    timeout_seconds: float
    hold_seconds: float
    hold_seconds_max: float


class Urgency(NamedTuple):
    """What one request asks for, clamped to the bounds."""

    deadline: float
    """On `time.monotonic()`, seconds."""
    hold_seconds: float


def tier_of(exchange: Exchange, service_tier: str | None) -> Tier:
    """Return `flex` if the request accepts a lower priority at a lower price."""
    if service_tier == "flex":
        return "flex"
    wanted = exchange.header(b"x-tier")
    return "flex" if wanted and wanted.strip().lower() == "batch" else "default"


def urgency_of(exchange: Exchange, patience: Patience) -> Urgency:
    """Return the deadline and the hold time of a request."""
    timeout, hold = patience.timeout_seconds, patience.hold_seconds
    if asked := exchange.header(b"x-stainless-read-timeout"):
        timeout = min(_seconds(asked), timeout)
    if (prefer := exchange.header(b"prefer")) and (wait := _WAIT.search(prefer)):
        hold = float(wait[1])
    return Urgency(exchange.started + timeout, min(hold, patience.hold_seconds_max))


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf
