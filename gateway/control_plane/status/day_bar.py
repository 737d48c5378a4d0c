"""A UTC day of a model or of the API, as a bar shows it."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

RESPONSES_MIN = 100
"""Of fewer responses in a day, a share says nothing."""


class DayBar(NamedTuple):
    """A UTC day."""

    day: date
    uptime: float | None
    """Share of the day's live time, 0 to 1; None: the model was not live."""
    seconds_down: int
    responses: int | None = None
    """Of which it is the share instead; None: it is one of time."""

    @property
    def is_few(self) -> bool:
        """Whether so few responses say nothing."""
        return self.responses is not None and self.responses < RESPONSES_MIN

    @property
    def minutes_down(self) -> int:
        """Whole minutes, rounded up."""
        return -(-self.seconds_down // 60)
