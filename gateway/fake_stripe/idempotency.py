"""Idempotency keys: a key answers again what it answered first, for a day of the fake's clock.

Kept is what an operation answered once it ran, refusals like a declined card too. A request that
never ran (bad parameters, 429, a 500 before) leaves its key free.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.fake_stripe.refusals import ApiRefusal

KEPT_SECONDS = 24 * 3600


@dataclass
class KeptAnswer:
    """What a key answers; nothing yet while its first request runs."""

    request: tuple[Any, ...]
    made_at: float
    request_id: str
    status: int = 0
    body: Any = None


class IdempotencyKeys:
    """The keys of a day."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kept: dict[str, KeptAnswer] = {}

    def begin(self, key: str, request: tuple[Any, ...], request_id: str) -> KeptAnswer | None:
        """Give the answer to repeat, or None to the first request with a key."""
        kept = self._kept.get(key)
        if kept is None or kept.made_at + KEPT_SECONDS < self._now():
            self._kept[key] = KeptAnswer(request, self._now(), request_id)
            return None
        if kept.request != request:
            raise ApiRefusal(
                400,
                "Keys for idempotent requests can only be used with the same parameters they were "
                f"first used with. Try using a key other than '{key}' if you meant to execute a "
                "different request.",
                type="idempotency_error",
            )
        if not kept.status:
            raise ApiRefusal(
                409,
                "There is currently another in-progress request using this Idempotency Key.",
                type="idempotency_error",
                code="idempotency_key_in_use",
            )
        return kept

    def keep(self, key: str, status: int, body: Any) -> None:
        """Keep what a key answers from now on."""
        self._kept[key].status, self._kept[key].body = status, body

    def forget(self, key: str) -> None:
        """Free a key whose request never ran."""
        if key in self._kept and not self._kept[key].status:
            del self._kept[key]
