"""The status page: whether each model answers, and when it did not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.status.incidents import Incidents
from gateway.control_plane.web.rate_limits import Limit
from gateway.control_plane.web.rendering import Render
from gateway.snapshots import WorkerStatus
from gateway.storage.database import DatabaseAway

_DAYS = 90
_POOLS_MAX = 50
"""Most models that are listed; the others are only counted."""
WorkerStatuses = SkipValidation[list[WorkerStatus]]


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """A model's workers as the public sees them: how many, never where."""

    listing: Listing
    ready: int
    workers: int

    @property
    def mark(self) -> Literal["good", "warn", "bad"]:
        """The color of its state."""
        if self.listing.model.state == "coming_soon":
            return "warn"
        return "good" if self.ready else "bad"

    @property
    def state(self) -> str:
        """Its state in words."""
        if self.listing.model.state == "coming_soon":
            return "Coming soon"
        return "Operational" if self.ready else "No ready worker"


@get("/status")
async def show_status(
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    worker_statuses: NamedDependency[WorkerStatuses],
    incidents: NamedDependency[Incidents],
    status_limit: NamedDependency[Limit],
    origin: NamedDependency[str],
) -> Response[str]:
    """Show the pools as they are, and the incidents of the last days."""
    status_limit.take(origin)
    pools, more = pools_of(shelf, worker_statuses)
    try:
        known, recent = await incidents.past(_DAYS)
    except DatabaseAway:  # the state of the models is known without it, and most wanted then
        known, recent = None, []
    return render(
        "status.html",
        pools=pools,
        more=more,
        incidents=recent,
        days=_DAYS,
        known=known,
    )


def pools_of(
    shelf: Shelf, workers: Iterable[WorkerStatus]
) -> tuple[list[PoolView], Mapping[str, int]]:
    """Return the pools of the first models, and the number of others in each state.

    Live models without a ready worker come first, those that are coming soon last.
    """
    every: Counter[str] = Counter()
    ready: Counter[str] = Counter()
    for worker in workers:
        every[worker.model] += 1
        ready[worker.model] += worker.ready
    live, coming = shelf.listings[: shelf.live], shelf.listings[shelf.live :]
    down = [listing for listing in live if not ready[listing.model.id]]
    up = [listing for listing in live if ready[listing.model.id]]
    shown = islice(chain(down, up, coming), _POOLS_MAX)
    pools = [
        PoolView(listing=li, ready=ready[li.model.id], workers=every[li.model.id]) for li in shown
    ]
    told = Counter(pool.state for pool in pools)
    all_states = {"No ready worker": len(down), "Operational": len(up), "Coming soon": len(coming)}
    return pools, Counter(all_states) - told
