"""Needs attention: what all sources told last, without what was put off.

A job looks every few seconds, and pages show what it found: so a page costs one statement for the
snoozes, however many sources there are. Only the first page after an operator did something asks
the sources itself. A source that fails is a need of its own, and hides no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway import wall
from gateway.control_plane.attention import snoozes
from gateway.control_plane.attention.needs import NEEDS_MAX, SEVERITIES, Need, Severity, Source
from gateway.control_plane.attention.snoozes import Snooze
from gateway.storage.database import Database

log = structlog.get_logger()

LOOK_SECONDS = 15.0
"""How often the sources are asked."""
SHOWN_MAX = 100
"""Most needs that are shown: the worst, then the oldest."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What needs somebody: the worst first, then the oldest; and what waits, with its snooze."""

    at: datetime
    """When the sources were asked."""
    needs: list[Need]
    snoozed: list[tuple[Need, Snooze]]
    more: int
    """How many needs there are beside those listed."""


class Lookout:
    """Asks the sources; `look` is a job."""

    def __init__(
        self,
        database: Database,
        sources: Mapping[str, Source],
        *,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.count = 0
        """How many needs there were last, without those that wait."""
        self.counts: Mapping[Severity, int] = dict.fromkeys(SEVERITIES, 0)
        """The same by how bad they are."""
        self._database = database
        self._sources = sources
        self._clock = clock
        self._told: list[Need] | None = None
        self._at = wall.now()

    @property
    def rules(self) -> dict[str, str]:
        """When each source tells something, by what it tells of."""
        return {name: source.rule for name, source in self._sources.items()}

    async def look(self) -> None:
        """Ask all sources anew."""
        await self._ask()
        await self.found()

    def forget(self) -> None:
        """Ask the sources anew before the next page, because an operator acted."""
        self._told = None

    async def found(self) -> Look:
        """Return what was found last, without what waits now."""
        told = self._told if self._told is not None else await self._ask()
        async with self._database.read() as connection:
            waiting = await snoozes.current(connection, self._clock and self._clock())
        open_, snoozed = [], []
        for need in told:
            snooze = waiting.get(need.key)
            if snooze is not None and snooze.covers(need):
                snoozed.append((need, snooze))
            else:
                open_.append(need)
        self.count = len(open_)
        counted = Counter(need.severity for need in open_)
        self.counts = {severity: counted[severity] for severity in SEVERITIES}
        return Look(
            at=self._at,
            needs=open_[:SHOWN_MAX],
            snoozed=snoozed[:SHOWN_MAX],
            more=max(len(open_) - SHOWN_MAX, 0),
        )

    async def find(self, key: str) -> Need | None:
        """Return a need that was found last, put off or not."""
        told = self._told if self._told is not None else await self._ask()
        return next((need for need in told if need.key == key), None)

    async def _ask(self) -> list[Need]:
        now = self._clock() if self._clock else wall.now()
        told: list[Need] = []
        for name, source in self._sources.items():
            try:
                async with self._database.read() as connection:
                    told += (await source(connection, now))[:NEEDS_MAX]
            except (SQLAlchemyError, OSError) as error:
                log.warning("a source of needs fails", source=name, reason=str(error))
                told.append(_failing(name))
        told.sort(key=_order)
        self._told, self._at = told, now
        return told


def _order(need: Need) -> tuple[int, float, str]:
    since = need.since.timestamp() if need.since else float("inf")
    return (SEVERITIES.index(need.severity), since, need.key)


def _failing(name: str) -> Need:
    return Need(
        key=f"source:{name}",
        severity="critical",
        subject="Needs attention",
        words=f"could not be asked about {name}: the database refused, see the log",
    )
