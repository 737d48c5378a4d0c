"""The service as the public sees it: its components now and over 90 days, and its incidents.

The page, its JSON, its feed and its badge all show this. The state of now is known without the
database, when it is most wanted; incidents are None then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.status.api_health import ApiDays, ApiHealth
from gateway.control_plane.status.incidents import Incidents, Past
from gateway.control_plane.status.performance import DAYS, ModelPerformance, Performances
from gateway.control_plane.web.rate_limits import Limit
from gateway.snapshots import WorkerStatus

MODELS_MAX = 50
"""Most models that are listed; the others are only counted."""
Level = Literal["operational", "degraded", "down"]
WorkerStatuses = SkipValidation[list[WorkerStatus]]


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """A live model: whether it answers now, and what was measured."""

    listing: Listing
    is_up: bool
    measured: ModelPerformance


class ServiceState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that there is to tell."""

    models: list[ModelState]
    """Live ones, those that are down first."""
    more: int
    """Live models that are not listed; all of them are up, unless even more are down."""
    down: int
    live: int
    api: ApiDays
    past: Past | None

    @property
    def level(self) -> Level:
        """The state in a word. Without a live model nothing is down."""
        if not self.down:
            return "operational"
        return "down" if self.down == self.live else "degraded"

    @property
    def words(self) -> str:
        """The state in a sentence."""
        if not self.live:
            return "No model is live yet"
        if not self.down:
            return "All systems operational"
        if self.down == self.live:
            return "No model can answer"
        return f"{self.down} of {self.live} models can't answer"


async def provide_service_state(
    shelf: NamedDependency[Shelf],
    worker_statuses: NamedDependency[WorkerStatuses],
    performances: NamedDependency[Performances],
    api_health: NamedDependency[ApiHealth],
    incidents: NamedDependency[Incidents],
    status_limit: NamedDependency[Limit],
    origin: NamedDependency[str],
) -> ServiceState:
    """Provide the state to what shows it, so often for one visitor."""
    status_limit.take(origin)
    past = await incidents.past(DAYS)
    return state_of(shelf, worker_statuses, performances, api_health.known, past)


def state_of(
    shelf: Shelf,
    workers: Iterable[WorkerStatus],
    performances: Performances,
    api: ApiDays,
    past: Past | None,
) -> ServiceState:
    """Put the state together."""
    ready: Mapping[str, int] = Counter(worker.model for worker in workers if worker.ready)
    live = shelf.listings[: shelf.live]
    down = [listing for listing in live if not ready.get(listing.model.id)]
    up = [listing for listing in live if ready.get(listing.model.id)]
    shown = [*down, *up][:MODELS_MAX]
    return ServiceState(
        models=[
            ModelState(
                listing=listing,
                is_up=listing.model.id in ready,
                measured=performances.of(listing.model.id),
            )
            for listing in shown
        ],
        more=len(live) - len(shown),
        down=len(down),
        live=len(live),
        api=api,
        past=past,
    )
