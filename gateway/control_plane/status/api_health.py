"""How the API answered, by day: the share of responses that were not failures of ours.

A request that the gateways never got is not in it, nor is a day without requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.status.day_bar import RESPONSES_MIN, DayBar
from gateway.control_plane.status.performance import DAYS
from gateway.storage.database import Database
from gateway.storage.tables import model_answers, total

_FAILURE = 5
_Days = Mapping[date, Counter[bool]]
"""Responses of each UTC day, by whether they are failures."""


class ApiDays(msgspec.Struct, frozen=True, kw_only=True):
    """The last days; `uptime` is the share of responses that were not 5xx."""

    as_of: datetime | None = None
    days: tuple[DayBar, ...] = ()
    share: float | None = None
    """Over all the days; None without a request."""
    responses: int = 0
    """In all the days."""

    @property
    def is_few(self) -> bool:
        """Whether so few responses say nothing."""
        return self.responses < RESPONSES_MIN


class ApiHealth:
    """The API's days, in memory; `refresh` is a job."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = wall.now) -> None:
        self._database = database
        self._clock = clock
        self._before: tuple[datetime, _Days] | None = None
        """The hour in which they were read, and the days that are over."""
        self.known = ApiDays()

    async def refresh(self) -> None:
        """Read the sums of the service. What was known stays if that fails."""
        now = self._clock()
        hour = now.replace(minute=0, second=0, microsecond=0)
        yesterday = datetime.combine(now.date() - timedelta(days=1), time(), UTC)
        first = yesterday - timedelta(days=DAYS - 2)
        async with self._database.read() as connection:
            if self._before is None or self._before[0] != hour:
                last = yesterday - timedelta(hours=1)
                self._before = hour, await _read(connection, first, last)
            days = {**self._before[1], **await _read(connection, yesterday, hour)}
        asked = [(now - timedelta(days=ago)).date() for ago in reversed(range(DAYS))]
        in_all = sum((days.get(day, Counter()) for day in asked), Counter[bool]())
        self.known = ApiDays(
            as_of=now,
            days=tuple(_bar(day, days.get(day, Counter())) for day in asked),
            share=_share(in_all),
            responses=in_all.total(),
        )


def _bar(day: date, answers: Counter[bool]) -> DayBar:
    return DayBar(day, _share(answers), 0, answers.total())


def _share(answers: Counter[bool]) -> float | None:
    return 1 - answers[True] / answers.total() if answers else None


async def _read(connection: AsyncConnection, first: datetime, last: datetime) -> _Days:
    """Return the days of the hours from the first to the last."""
    table = model_answers.c
    found = await connection.execute(
        select(table.hour, table.status_class, total(table.answers))
        .where(table.hour.between(first, last))
        .group_by(table.hour, table.status_class)
    )
    days: dict[date, Counter[bool]] = {}
    for hour, status_class, answers in found:
        days.setdefault(hour.date(), Counter())[status_class >= _FAILURE] += answers
    return days
