"""What the handlers of all pages are given: one object, made in app.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Request

from gateway.control_plane.catalog.pages import ModelPage
from gateway.control_plane.site.limits import Limit, visitor_of
from gateway.control_plane.site.rendering import Renderer
from gateway.control_plane.status.incidents import Incidents
from gateway.data_plane.api.embeddings import Router
from gateway.data_plane.metering.tokens import TokenCounter
from gateway.data_plane.routing.pool import WorkerStatus
from gateway.errors import NotFound
from gateway.settings import Settings
from gateway.snapshots import Catalog, ModelSnapshot
from gateway.storage.database import Database


class PageNotFound(NotFound):
    """Nothing is at this address, or nothing that this visitor may see."""

    code = "page_not_found"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A model as it is sold, and what its page says."""

    model: ModelSnapshot
    page: ModelPage

    @property
    def path(self) -> str:
        """Where its page is."""
        return f"/models/{self.model.id}"


@dataclass(frozen=True, kw_only=True)
class Site:
    """The parts."""

    settings: Settings
    database: Database
    catalog: Callable[[], Catalog]
    pages: Mapping[str, ModelPage]
    counters: Mapping[str, TokenCounter]
    router: Router
    workers: Callable[[], list[WorkerStatus]]
    renderer: Renderer
    incidents: Incidents
    calculations: Limit
    experiments: Limit

    def listings(self) -> list[Listing]:
        """Return the models that have a page: live ones first, then by title."""
        found = [
            Listing(model=model, page=self.pages[model.id])
            for model in self.catalog().models.values()
            if model.state != "retired" and model.id in self.pages
        ]
        return sorted(
            found, key=lambda listing: (listing.model.state != "live", listing.page.title)
        )

    def listing(self, model_id: str) -> Listing:
        """Return one of them. Raises PageNotFound."""
        for listing in self.listings():
            if listing.model.id == model_id:
                return listing
        raise PageNotFound("There is no model of that name here.")

    def visitor(self, request: Request[Any, Any, Any]) -> str:
        """Name the visitor for a limit."""
        return visitor_of(request, proxies=self.settings.trusted_proxies)
