"""What a request costs: the one price formula."""

from __future__ import annotations

from gateway.snapshots import PriceSnapshot

_MILLION = 1_000_000


def cost_nanos(price: PriceSnapshot, tokens: int) -> int:
    """Return the exact cost of so many tokens in nano-dollars, rounded up to a whole one."""
    return -(-tokens * price.nanos_per_million_tokens // _MILLION)
