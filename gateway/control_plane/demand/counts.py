"""The public counts of votes and of the waitlist, kept in memory for pages."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.demand.events import Event, record
from gateway.data_plane.tallies import DemandTally, Tally
from gateway.storage.database import Database, count
from gateway.storage.tables import demand_votes, set_aside_votes, waitlist_entries

_VIEWED_MAX = 100_000
"""Most models whose views are counted between two flushes."""


class DemandCounts:
    """Votes and waitlist of each model, read by pages, and the page views that they count.

    `refresh` reads the public numbers from the database, `flush` writes views and calls; both are
    jobs.
    """

    def __init__(self, database: Database, calls: DemandTally) -> None:
        self._database = database
        self._calls = calls
        self._views = Tally[str](entries_max=_VIEWED_MAX)
        self._votes: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        self._recounted: dict[str, int] = {}
        """Votes that were counted since `refresh` last began to read."""

    def votes(self, model_id: str) -> int:
        """Return the public number of votes: those of verified accounts, none set aside."""
        return self._votes.get(model_id, 0)

    def waiting(self, model_id: str) -> int:
        """Return how many confirmed addresses are on the waitlist."""
        return self._waiting.get(model_id, 0)

    def all_votes(self) -> Mapping[str, int]:
        """Return the public number of votes by model."""
        return self._votes

    def all_waiting(self) -> Mapping[str, int]:
        """Return how many confirmed addresses are on the waitlist, by model."""
        return self._waiting

    def viewed(self, model_id: str) -> None:
        """Count a view of a model's page."""
        self._views.add(model_id)

    async def flush(self) -> None:
        """Write views and calls as events; on an error they are kept for the next time."""
        with self._views.draining() as views, self._calls.draining() as calls:
            counted = [Event("view", model_id, count=count) for model_id, count in views.items()]
            counted += [Event("call", *entry, count) for entry, count in calls.items()]
            if counted:
                async with self._database.write() as connection:
                    await record(connection, *counted)

    async def refresh(self) -> None:
        """Read the public numbers from the database, but keep votes recounted since it began."""
        self._recounted = {}
        async with self._database.read() as connection:
            counted = await _counts(connection, demand_votes, is_counted())
            self._waiting = await _counts(connection, waitlist_entries)
        self._votes = counted | self._recounted

    async def recount(self, model_id: str) -> None:
        """Read one model's votes once one was committed, so that a voter sees their own."""
        mine = demand_votes.c.model_id == model_id
        async with self._database.read() as connection:
            votes = await count(connection, demand_votes, mine, is_counted())
        self._votes[model_id] = self._recounted[model_id] = votes


def is_counted() -> ColumnElement[bool]:
    """Return the condition of votes that count: no operator set them aside."""
    aside = select(set_aside_votes.c.voter_key).where(
        set_aside_votes.c.model_id == demand_votes.c.model_id,
        set_aside_votes.c.voter_key == demand_votes.c.voter_key,
    )
    return ~aside.exists()


async def _counts(
    connection: AsyncConnection, table: Table, *conditions: ColumnElement[bool]
) -> dict[str, int]:
    found = await connection.execute(
        select(table.c.model_id, func.count()).where(*conditions).group_by(table.c.model_id)
    )
    return {row[0]: row[1] for row in found}
