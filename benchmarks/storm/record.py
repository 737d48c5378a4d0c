"""What the clients saw: every request, every attempt, every answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

GIVEN_UP = "no answer"
"""The code of an attempt that its client gave up, or whose connection ended."""


class Customer(msgspec.Struct, frozen=True):
    """An organization and its key."""

    organization_id: str
    key_id: str
    secret: str
    credit_nanos: int


class Attempt(msgspec.Struct):
    """One try. Times are seconds since the scenario began."""

    began: float
    ended: float
    status: int
    """0 if no answer came."""
    code: str = ""
    """The error's code, or why no answer came."""
    request_id: str = ""
    original_id: str = ""
    """Of a replay: the request that was billed."""
    cost_nanos: int = 0
    """As the answer says."""
    wrong: str = ""
    """What is wrong with the answer."""

    @property
    def served(self) -> bool:
        """Whether it is an answer with vectors."""
        return self.status == 200

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class Request(msgspec.Struct):
    """What a client asked for: the same bytes at each try."""

    customer: int
    inputs: int
    tokens: int
    attempts: list[Attempt] = []

    @property
    def served(self) -> bool:
        """Whether it got its vectors in the end."""
        return bool(self.attempts) and self.attempts[-1].served


class Record(msgspec.Struct):
    """Everything that happened in one scenario."""

    customers: list[Customer]
    requests: list[Request] = []

    def attempts(self) -> Iterator[tuple[Request, Attempt]]:
        """Return all attempts with their requests."""
        return ((request, attempt) for request in self.requests for attempt in request.attempts)

    @property
    def served(self) -> int:
        """Requests that got their vectors."""
        return sum(request.served for request in self.requests)

    def failed(self) -> Counter[str]:
        """Return how many requests failed for good, by the last attempt's status and code."""
        return Counter(
            _name(request.attempts[-1])
            for request in self.requests
            if request.attempts and not request.served
        )

    def refused(self, *, since: float = 0.0) -> Counter[str]:
        """Return how many attempts got no vectors, by status and code."""
        return Counter(
            _name(attempt)
            for _, attempt in self.attempts()
            if not attempt.served and attempt.began >= since
        )

    def slowest(self) -> float:
        """Return the longest that a request took that was served, its retries included."""
        return max(
            (r.attempts[-1].ended - r.attempts[0].began for r in self.requests if r.served),
            default=0.0,
        )


def _name(attempt: Attempt) -> str:
    return f"{attempt.status} {attempt.code}" if attempt.status else attempt.code
