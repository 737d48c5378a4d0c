"""The race of models that are coming soon: who leads by votes, and what each still needs.

Operators launch what pays for its GPU, so a model needs a number of tokens per month at its price,
and its votes stand for the expected volume of its standing. A job reads both, only for the models
with most votes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import nlargest

import msgspec

from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.demand import economics, standings
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.demand.economics import GpuTerms
from gateway.control_plane.workers import commands
from gateway.snapshots import Catalog
from gateway.storage.database import Database

REFRESH_SECONDS = 30.0
LEADERS_MAX = 6
"""How many are shown."""
LEAD_VOTES_MIN = 5
"""With fewer votes we don't name a leader: one more vote could change who leads."""
_READ_MAX = 24
"""For how many the need is read: some may go live before the next reading."""


class LaunchNeed(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per month: what votes stand for, and the volume from which a GPU pays for itself."""

    expected_tokens: int
    needed_tokens: int

    @property
    def is_met(self) -> bool:
        """Whether demand would pay for a GPU."""
        return self.expected_tokens >= self.needed_tokens

    @property
    def missing_tokens(self) -> int:
        """What is missing."""
        return max(0, self.needed_tokens - self.expected_tokens)


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """A model in the race."""

    listing: Listing
    votes: int
    percent: int
    """Of the leader's votes."""
    behind: int
    """Votes behind the leader."""
    is_race: bool
    """Whether the leader has enough votes to be called one."""
    need: LaunchNeed | None
    """None until it is computed, or where the price is zero."""


class Race:
    """The leaders by votes; `refresh` is a job."""

    def __init__(
        self,
        database: Database,
        counts: DemandCounts,
        terms: GpuTerms,
        catalog: Callable[[], Catalog],
    ) -> None:
        self._database = database
        self._counts = counts
        self._terms = terms
        self._catalog = catalog
        self._needs: Mapping[str, LaunchNeed] = {}

    def leaders(self, shelf: Shelf) -> Sequence[Contender]:
        """Return the most voted for that are coming soon; none without a vote."""
        votes = self._counts.all_votes()
        coming = [li for li in shelf.listings[shelf.live :] if votes.get(li.model.id)]
        first = nlargest(LEADERS_MAX, coming, key=lambda li: votes[li.model.id])
        most = votes[first[0].model.id] if first else 0
        return [
            Contender(
                listing=listing,
                votes=(mine := votes[listing.model.id]),
                percent=mine * 100 // most,
                behind=most - mine,
                is_race=most >= LEAD_VOTES_MIN,
                need=self._needs.get(listing.model.id),
            )
            for listing in first
        ]

    async def refresh(self) -> None:
        """Read what the leaders need."""
        votes, models = self._counts.all_votes(), self._catalog().models
        coming = [
            model_id
            for model_id in votes
            if (model := models.get(model_id)) and model.state == "coming_soon"
        ]
        first = nlargest(_READ_MAX, coming, key=lambda model_id: votes[model_id])
        async with self._database.read() as connection:
            found = await standings.of_models(connection, first)
            reports = await commands.reports(connection)
        needs = {}
        for row in found:
            price = models[row.model_id].price.nanos_per_million_tokens
            capacity = economics.capacity_of(row.model_id, reports)
            seen = economics.outlook(row.standing, price, capacity, self._terms)
            if seen.needed_tokens:
                needs[row.model_id] = LaunchNeed(
                    expected_tokens=seen.expected_tokens, needed_tokens=seen.needed_tokens
                )
        self._needs = needs
