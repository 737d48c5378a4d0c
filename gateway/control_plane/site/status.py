"""The status page: whether each model answers, and when it did not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency

from gateway.control_plane.site.parts import Listing, Site
from gateway.control_plane.status.history import history

_DAYS = 90


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """A model's workers, for everybody: how many, and never where."""

    listing: Listing
    ready: int
    workers: int

    @property
    def mark(self) -> Literal["good", "warn", "bad"]:
        """The colour of its state."""
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
    request: Request[Any, Any, Any], site: NamedDependency[Site]
) -> Response[str]:
    """Show the pools as they are, and the incidents of the last days."""
    workers = site.workers()
    pools = [
        PoolView(
            listing=listing,
            ready=sum(w.ready for w in workers if w.model == listing.model.id),
            workers=sum(w.model == listing.model.id for w in workers),
        )
        for listing in site.listings()
    ]
    async with site.database.read() as connection:
        known = await history(connection, _DAYS, datetime.now(UTC))
    return site.renderer.page(
        request,
        "status.html",
        pools=pools,
        incidents=await site.incidents.recent(_DAYS),
        days=_DAYS,
        known=known,
    )
