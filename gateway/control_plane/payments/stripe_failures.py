"""What a call to Stripe raises.

Whatever goes wrong is one of three errors, because a caller can do only three things: ask again
with the same idempotency key, give up, or wait.

    StripeFailure
    ├── StripeDown      no answer, or a failure at Stripe: it may have been done
    ├── StripeRefused   a definite no: nothing was done, and the same request won't ever be
    └── StripeBusy      too many requests: nothing was done, the same request may be later
"""

from __future__ import annotations


class StripeFailure(Exception):
    """Base of what a call to Stripe raises; the text is for operators and holds no secret."""


class StripeDown(StripeFailure):
    """There is no usable answer, so it may have been done: ask again with the same key.

    `is_answered` tells a failed answer (a 5xx, or one that isn't understood) from no answer: Stripe
    repeats a failed answer for a day to everyone who asks with that key.
    """

    def __init__(self, message: str, *, is_answered: bool = False) -> None:
        super().__init__(message)
        self.is_answered = is_answered


class StripeRefused(StripeFailure):
    """Stripe said no, and would say so again: nothing was done.

    `code` is Stripe's (`card_declined`, `authentication_required`, `resource_missing`,
    `idempotency_error`), `decline_code` the bank's, `intent_id` the payment intent concerned.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        decline_code: str = "",
        intent_id: str | None = None,
        status: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.decline_code = decline_code
        self.intent_id = intent_id
        self.status = status

    @property
    def is_missing(self) -> bool:
        """Whether Stripe has no such object."""
        return self.code == "resource_missing"


class StripeBusy(StripeFailure):
    """Stripe takes no more requests at the moment: nothing was done."""
