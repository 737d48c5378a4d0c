"""Incidents: times in which a live model had no ready worker, as this gateway saw it.

Each process writes what it sees; a model has at most one open incident (a unique index), so several
processes that see the same one write it once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.data_plane.routing.router import WorkerStatus
from gateway.identifiers import new_id
from gateway.snapshots import Catalog
from gateway.storage.database import Database
from gateway.storage.tables import incidents

_LISTED_MAX = 100


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A time without a ready worker; `ended_at` is None while it lasts."""

    id: str
    model_id: str
    started_at: datetime
    ended_at: datetime | None

    def minutes(self, now: datetime) -> int:
        """Return how long it lasted, or lasts by now, in whole minutes, at least one."""
        seconds = ((self.ended_at or now) - self.started_at).total_seconds()
        return max(1, round(seconds / 60))


class Incidents:
    """Watches the pools; `watch` is a job."""

    def __init__(
        self,
        database: Database,
        *,
        workers: Callable[[], list[WorkerStatus]],
        catalog: Callable[[], Catalog],
    ) -> None:
        self._database = database
        self._workers = workers
        self._catalog = catalog

    async def watch(self) -> None:
        """Open an incident for each live model that has workers and none ready; close the rest."""
        workers = self._workers()
        ready = {status.model for status in workers if status.ready}
        down = {
            status.model
            for status in workers
            if status.model not in ready and self._is_live(status.model)
        }
        async with self._database.read() as connection:
            found = await connection.execute(
                select(incidents.c.model_id).where(incidents.c.ended_at.is_(None))
            )
            was_down = set(found.scalars())
        for model_id in down - was_down:
            await self._open(model_id)
        for model_id in was_down & ready:
            await self._close(model_id)

    async def recent(self, days: int) -> list[Incident]:
        """Return the incidents of so many days, newest first."""
        query = (
            select(incidents)
            .where(incidents.c.started_at > datetime.now(UTC) - timedelta(days=days))
            .order_by(incidents.c.started_at.desc())
            .limit(_LISTED_MAX)
        )
        async with self._database.read() as connection:
            return [Incident(**row) for row in (await connection.execute(query)).mappings()]

    def _is_live(self, model_id: str) -> bool:
        model = self._catalog().models.get(model_id)
        return model is not None and model.state == "live"

    async def _open(self, model_id: str) -> None:
        try:
            async with self._database.write() as connection:
                await connection.execute(
                    insert(incidents).values(
                        id=new_id(), model_id=model_id, started_at=datetime.now(UTC)
                    )
                )
        except IntegrityError:
            return  # another process saw it first

    async def _close(self, model_id: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                update(incidents)
                .where(incidents.c.model_id == model_id, incidents.c.ended_at.is_(None))
                .values(ended_at=datetime.now(UTC))
            )
