"""Estimates of a model's price until its launch sets one: one rule, by its parameters.

The work per token grows with the parameters, and so does the price, in steps. Each is meant to pay
for a GPU of $3 an hour that is about half busy; the lowest is what the cheapest providers charge.
Votes say whether people would pay it.
"""

from __future__ import annotations

_STEPS = (
    (200_000_000, 5_000_000),
    (1_000_000_000, 8_000_000),
    (2_000_000_000, 16_000_000),
    (5_000_000_000, 30_000_000),
)
"""Most parameters of a step, and its price in nanos per million tokens."""
_ABOVE_NANOS = 60_000_000


def estimate_nanos(parameters: int) -> int:
    """Return the estimated price per million tokens; flex is half of it."""
    return next((nanos for most, nanos in _STEPS if parameters <= most), _ABOVE_NANOS)
