"""What is recorded of each request of a known organization: sums, and the request itself."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from gateway.data_plane.recent_requests import RecentRequests, RequestEntry
from gateway.data_plane.tallies import AnswerTally


class Records(NamedTuple):
    """Where answers are counted, and where requests are kept until they are written down."""

    answers: AnswerTally
    recent: RecentRequests

    def answered(self, request: Recorded, status: int, code: str, seconds: float) -> None:
        """Record a request once, when it is answered or its client leaves."""
        organization_id, key_id = request.organization_id, request.key_id
        if organization_id is None or key_id is None:
            return  # it was refused before anybody knew whose it is
        model_id = request.model_id
        self.answers.answered(organization_id, key_id, model_id, status, code, seconds)
        self.recent.keep(
            RequestEntry(
                request.request_id,
                organization_id,
                key_id,
                model_id,
                status,
                code,
                seconds,
                request.tokens,
                request.original_id,
            )
        )


class Recorded(Protocol):
    """What is known of a request."""

    request_id: str
    organization_id: str | None
    key_id: str | None
    model_id: str
    tokens: int | None
    original_id: str | None
