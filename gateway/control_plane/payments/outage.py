"""Whether Stripe is away: one object that can't be read must not stop the others, an outage must.

Each run keeps one. If nobody answers, or all requests are refused, Stripe is away at once. An
answer that is a failure may concern one object alone: only several in a row are an outage.
"""

from __future__ import annotations

from gateway.control_plane.payments.stripe_failures import StripeDown, StripeFailure

FAILURES_MAX = 3
"""Failures in a row that were answered, after which Stripe counts as away."""


class Outage:
    """What one run has met with at Stripe."""

    def __init__(self) -> None:
        self.is_on = False
        """Whether the rest of the run would meet the same."""
        self.is_answered = False
        """Whether there was a good answer."""
        self._failures = 0

    @property
    def is_failing(self) -> bool:
        """Whether the last request failed, so that the next run would probably fail too."""
        return self.is_on or self._failures > 0

    def over(self) -> None:
        """Note a good answer."""
        self._failures, self.is_answered = 0, True

    def note(self, error: StripeFailure) -> bool:
        """Note a failure; return whether it may concern only the object that was asked for."""
        is_of_one = isinstance(error, StripeDown) and error.is_answered
        self._failures += 1
        if not is_of_one or self._failures >= FAILURES_MAX:
            self.is_on = True
        return is_of_one
