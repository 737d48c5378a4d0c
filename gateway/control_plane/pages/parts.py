"""What the handlers of all pages are given: one object, made in app.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Request
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import identities, memberships, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.github import Github
from gateway.control_plane.accounts.identities import Identity
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.accounts.links import MailLinks, Purpose
from gateway.control_plane.accounts.sessions import Sessions
from gateway.control_plane.billing.welcome import Welcome
from gateway.control_plane.catalog.content import ModelPage
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.demand import waitlist
from gateway.control_plane.demand.events import Interest
from gateway.control_plane.mail.messages import MailWriter
from gateway.control_plane.mail.outbox import Outbox
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.control_plane.status.incidents import Incidents
from gateway.control_plane.web.oauth_state import Errands
from gateway.control_plane.web.rate_limits import Limit, Quota, visitor_of
from gateway.control_plane.web.rendering import Renderer
from gateway.control_plane.web.visitors import SessionCookie
from gateway.data_plane.metering.tokens import TokenCounter
from gateway.data_plane.routing.router import Router
from gateway.errors import NotFound
from gateway.settings import Settings
from gateway.snapshots import Catalog, ModelSnapshot, WorkerStatus
from gateway.storage.database import Database


class PageNotFound(NotFound):
    """Nothing is at this address, or nothing that this visitor may see."""

    code = "page_not_found"


class Uncountable(NotFound):
    """A model whose tokenizer this gateway does not have."""

    code = "tokenizer_not_found"


@dataclass(frozen=True, kw_only=True)
class Site:
    """The parts."""

    settings: Settings
    database: Database
    catalog: Callable[[], Catalog]
    pages: Mapping[str, ModelPage]
    shelf: Callable[[], Shelf]
    counters: Mapping[str, TokenCounter]
    router: Router
    workers: Callable[[], list[WorkerStatus]]
    renderer: Renderer
    incidents: Incidents
    keys: ApiKeys
    sessions: Sessions
    cookie: SessionCookie
    links: MailLinks
    github: Github | None
    errands: Errands
    welcome: Welcome
    writer: MailWriter
    outbox: Outbox
    unsubscriptions: Unsubscriptions
    calculations: Limit
    experiments: Limit
    sign_ins: Quota
    votes: Quota
    invitations: Quota
    interest: Interest

    def listing(self, model_id: str) -> Listing:
        """Return a model that is not retired. Raises PageNotFound."""
        listing = self.shelf().by_id.get(model_id)
        if listing is None:
            raise PageNotFound("There is no model of that name here.")
        return listing

    def first(self) -> Listing:
        """Return the model that examples are about. Raises PageNotFound where there is none."""
        listings = self.shelf().listings
        if not listings:
            raise PageNotFound("There is no model here yet.")
        return listings[0]

    def counter(self, model: ModelSnapshot) -> TokenCounter:
        """Return what counts a model's tokens. Raises Uncountable."""
        counter = self.counters.get(model.vocabulary_sha256)
        if counter is None:
            raise Uncountable(
                f"The tokenizer of {model.id} is not here, so nothing can be counted."
            )
        return counter

    async def link(
        self,
        connection: AsyncConnection,
        purpose: Purpose,
        address: Address,
        subject: str,
        *,
        ref: str,
    ) -> str | None:
        """Make a link for the mail `ref`; None when that is on its way, or so many were sent."""
        if await self.outbox.holds(connection, ref):
            return None  # a form that was sent twice uses up no second one
        return await self.links.create(connection, purpose, address, subject)

    async def enter(
        self,
        connection: AsyncConnection,
        address: Address,
        *,
        joins: str | None = None,
        identity: Identity | None = None,
    ) -> str:
        """Sign in whoever has shown that an address is theirs; return the cookie of the session.

        `joins` is the organization that invited them. An identity that is known signs in to the
        account that it has, whatever its address is now.
        """
        known = await identities.find(connection, identity) if identity else None
        user = known or await users.find_or_create(connection, address)
        came_before = False
        if identity and not known:
            came_before = not await identities.connect(connection, identity, user.id)
        if user.is_new:
            await self.welcome.greet(connection, user, address, came_before=came_before)
        await waitlist.adopt(connection, Address(user.email), user.id)
        if joins:
            most = self.settings.organization_members_max
            await memberships.add(connection, user.id, joins, "member", members_max=most)
        return await self.sessions.begin(connection, user.id, joins or user.organization_id)

    def visitor(self, request: Request[Any, Any, Any]) -> str:
        """Name the visitor for a limit."""
        return visitor_of(request, proxies=self.settings.trusted_proxies)
