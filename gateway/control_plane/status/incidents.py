"""Incidents: times in which no gateway had a ready worker for a live model, and their history.

Every gateway reports its workers (`workers.commands`) and watches the reports of all, so they
agree even if one of them can't reach a worker. An incident opens after `patience_seconds`, or each
start would be an outage. A unique index allows one open incident per model.

The history begins when this database was set up. Times without a running gateway are not recorded;
the page says so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import NamedTuple

import msgspec
from sqlalchemy import RowMapping, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.status import incident_updates
from gateway.control_plane.status.incident_updates import IncidentUpdate
from gateway.control_plane.workers import commands
from gateway.identifiers import is_id, new_id
from gateway.snapshots import Catalog, WorkerState
from gateway.storage.database import Database, DatabaseAway
from gateway.storage.tables import incidents, model_answers, models, total

_LISTED_MAX = 100
_FAILURE = 5
"""The first digit of a response that is the service's fault."""
_FRESH_SECONDS = 5.0
"""How old what the status page tells of the past may be."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A time without a ready worker; `ended_at` is None while it is open."""

    id: str
    model_id: str
    started_at: datetime
    ended_at: datetime | None
    updates: tuple[IncidentUpdate, ...] = ()
    """What an operator said of it, the newest first."""

    @property
    def title(self) -> str:
        """What it is called in public."""
        return self.updates[0].title if self.updates else f"{self.model_id} was unavailable"

    def lasted(self, now: datetime) -> str:
        """Return its duration so far in words."""
        minutes = round(((self.ended_at or now) - self.started_at).total_seconds() / 60)
        return f"{minutes:,} min" if minutes else "under a minute"


class IncidentResponses(NamedTuple):
    """IncidentResponses to requests that named a model; `failed` are those of 500 or more."""

    all: int
    failed: int


class Incidents:
    """Opens and closes incidents; `watch` is a job."""

    def __init__(
        self,
        database: Database,
        *,
        catalog: Callable[[], Catalog],
        patience_seconds: float,
        clock: Callable[[], datetime] = wall.now,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._patience = timedelta(seconds=patience_seconds)
        self._clock = clock
        self._missed: dict[str, datetime] = {}
        self._reading = asyncio.Lock()
        self._told: tuple[float, int, Past | None] | None = None
        """When it was read, of how many days, and what."""

    async def watch(self) -> None:
        """Open incidents of live models that are not ready; close those of models that are."""
        now = self._clock()
        live = {model.id for model in self._catalog().models.values() if model.state == "live"}
        async with self._database.read() as connection:
            reports = await commands.reports(connection)
            found = await connection.execute(
                select(incidents.c.model_id).where(incidents.c.ended_at.is_(None))
            )
            was_down = set(found.scalars())
        down = live - {
            report.model for report in reports if report.worker.state is WorkerState.READY
        }
        self._missed = {model_id: self._missed.get(model_id, now) for model_id in down}
        for model_id in down - was_down:
            if now - self._missed[model_id] >= self._patience:
                await self._open(model_id, self._missed[model_id])
        for model_id in was_down - down:
            await self._close(model_id, now)

    async def recent(self, days: int) -> list[Incident]:
        """Return the incidents of the last days, newest first."""
        async with self._database.read() as connection:
            return await recent(connection, self._clock() - timedelta(days=days))

    async def past(self, days: int) -> Past | None:
        """Return the history and the incidents of the last days, read at most every 5 seconds.

        None while the database is away: a crowd must not wait for it one after the other.
        """
        async with self._reading:
            if self._told is None or self._told[1] != days or self._is_old(self._told[0]):
                past = await self._read(days)
                self._told = (monotonic(), days, past)
            return self._told[2]

    async def _read(self, days: int) -> Past | None:
        try:
            async with self._database.read() as connection:
                known = await history(connection, days, self._clock())
            return Past(known, await self.recent(days))
        except DatabaseAway:
            return None

    @staticmethod
    def _is_old(read_at: float) -> bool:
        return monotonic() - read_at > _FRESH_SECONDS

    async def _open(self, model_id: str, since: datetime) -> None:
        try:
            async with self._database.write() as connection:
                await connection.execute(
                    insert(incidents).values(id=new_id(), model_id=model_id, started_at=since)
                )
        except IntegrityError:
            return  # another process was first

    async def _close(self, model_id: str, now: datetime) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                update(incidents)
                .where(incidents.c.model_id == model_id, incidents.c.ended_at.is_(None))
                .values(ended_at=now)
            )


async def recent(connection: AsyncConnection, since: datetime) -> list[Incident]:
    """Return the incidents of which some part is later, newest first."""
    found = await connection.execute(
        select(incidents)
        .where(or_(incidents.c.ended_at.is_(None), incidents.c.ended_at > since))
        .order_by(incidents.c.started_at.desc())
        .limit(_LISTED_MAX)
    )
    return await _with_updates(connection, found.mappings().all())


async def listed(
    connection: AsyncConnection,
    *,
    is_open: bool | None = None,
    before: str = "",
    limit: int = _LISTED_MAX,
) -> list[Incident]:
    """Return incidents, those that are open or those that ended, newest first, below an id."""
    query = select(incidents)
    if is_open is not None:
        ended_at = incidents.c.ended_at
        query = query.where(ended_at.is_(None) if is_open else ended_at.is_not(None))
    if is_id(before):
        query = query.where(incidents.c.id < before)
    found = await connection.execute(query.order_by(incidents.c.id.desc()).limit(limit))
    return await _with_updates(connection, found.mappings().all())


async def find(connection: AsyncConnection, incident_id: str) -> Incident:
    """Return an incident. Raises IncidentNotFound."""
    if not is_id(incident_id):
        raise incident_updates.not_found(incident_id)
    found = await connection.execute(select(incidents).where(incidents.c.id == incident_id))
    one = await _with_updates(connection, found.mappings().all())
    if not one:
        raise incident_updates.not_found(incident_id)
    return one[0]


async def responses(
    connection: AsyncConnection, incident: Incident, now: datetime
) -> IncidentResponses:
    """Count the responses to requests for its model in the hours that an incident touched."""
    table = model_answers.c
    found = await connection.execute(
        select(table.status_class, total(table.answers))
        .where(
            table.hour > incident.started_at - timedelta(hours=1),
            table.hour <= (incident.ended_at or now),
            table.model_id == incident.model_id,
        )
        .group_by(table.status_class)
    )
    classes = {row[0]: row[1] for row in found}
    return IncidentResponses(sum(classes.values()), classes.get(_FAILURE, 0))


async def _with_updates(connection: AsyncConnection, rows: Sequence[RowMapping]) -> list[Incident]:
    said = await incident_updates.of_all(connection, [row["id"] for row in rows])
    return [Incident(**row, updates=tuple(said.get(row["id"], ()))) for row in rows]


_INCIDENTS_MAX = 10_000


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Downtime over some days, or since the database was set up if that is shorter."""

    since: datetime
    is_whole: bool
    """Whether `since` reaches back as far as was asked for."""
    minutes_down: Mapping[str, int]
    """Minutes without a ready worker, rounded up, by model; models without downtime are absent."""


class Past(NamedTuple):
    """What the status page tells of the past."""

    history: History
    incidents: list[Incident]


async def history(connection: AsyncConnection, days: int, now: datetime) -> History:
    """Read the history. Incidents count with their part in these days."""
    asked = now - timedelta(days=days)
    # the first `gateway migrate` seeds the catalog
    first = await connection.scalar(select(func.min(models.c.created_at))) or now
    since = max(asked, first)
    seconds: Counter[str] = Counter()
    found = await connection.execute(
        select(incidents.c.model_id, incidents.c.started_at, incidents.c.ended_at)
        .where(or_(incidents.c.ended_at.is_(None), incidents.c.ended_at > since))
        .order_by(incidents.c.started_at.desc())
        .limit(_INCIDENTS_MAX)
    )
    for model_id, started_at, ended_at in found:
        lasted = (ended_at or now) - max(started_at, since)
        seconds[model_id] += max(0, round(lasted.total_seconds()))
    return History(
        since=since,
        is_whole=first <= asked,
        minutes_down={model_id: -(-some // 60) for model_id, some in seconds.items() if some},
    )
