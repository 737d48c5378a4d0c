"""New API keys: their form, the secret that is shown once, and the first call with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter, URLEncodedBody

from gateway import wall
from gateway.control_plane.accounts import key_listing, organizations
from gateway.control_plane.accounts.api_key import NewApiKey
from gateway.control_plane.accounts.keys import ApiKeys, KeyMade
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing import first_calls
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.pages.console.key_forms import NewKeyForm, prefilled
from gateway.control_plane.status import logged_requests
from gateway.control_plane.web import snippets
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render, is_fragment
from gateway.control_plane.web.request_list import error_of
from gateway.control_plane.web.visitors import having
from gateway.identifiers import is_id
from gateway.settings import Settings
from gateway.storage.database import Database

_MAY = having("keys")

LOOKS_OFTEN, LOOKS_MAX = 40, 120
"""A page that waits for a first call looks every 2 seconds so many times, then every 10, and
after so many in all no more by itself."""


async def _new_key_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            defaults = await organizations.defaults(connection, visitor.organization_id)
        form = prefilled(defaults)
        if refused and not isinstance(refused.error, KeyMade):
            form = refused.typed
        return render(
            "console/new_key.html",
            section="keys",
            refused=refused,
            form=form,
            start=prefilled(defaults),
        )

    return page


@get("/console/keys/new", dependencies={"page": Provide(_new_key_page)}, guards=[_MAY])
async def ask_for_key(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show the form of a new key."""
    return await page(None)


@post_form("/console/keys", "key", _new_key_page, guards=[_MAY], status_code=200)
async def create_key(
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    keys: NamedDependency[ApiKeys],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    data: URLEncodedBody[NewKeyForm],
) -> Response[Any]:
    """Create a key and show its secret, this once."""
    listing = shelf.first  # may raise: do not create a key that could not be shown
    async with database.read() as connection:
        defaults = await organizations.defaults(connection, visitor.organization_id)
    days = int(data.expires_days) if data.expires_days else None
    made = await keys.create(
        visitor.organization_id,
        data.name,
        created_by=visitor.user_id,
        expires_at=wall.now() + timedelta(days=days) if days else None,
        token_ids_from=data.token_ids_from(defaults),
        truncate=data.truncated_at(defaults),
        budget=data.limited(),
        scopes=data.scope_list(),
        keys_max=settings.organization_keys_max,
        key_id=data.id if is_id(data.id) else None,
        doer=trail.doer,
    )
    async with database.read() as connection:
        held = await key_listing.count_active(connection, visitor.organization_id)
    return shown(render, settings, listing, made, waits=held == 1 and "embed" in made.key.scopes)


@get("/console/keys/{key_id:str}/first-call", guards=[_MAY])
async def await_first_call(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    key_id: FromPath[str],
    look: Annotated[int, QueryParameter(ge=1, le=LOOKS_MAX)] = 1,
    seen: FromQuery[str] = "",
) -> Response[str]:
    """Show the first call of a key, or what its last one got, and wait; to htmx, the line alone.

    `seen` is the request that the line told of before: it is announced once.
    """
    own, refused = visitor.organization_id, None
    async with database.read() as connection:
        key = await key_listing.find(connection, own, key_id)
        call = await first_calls.of_key(connection, key)
        if call is None:
            refused = await logged_requests.last_refused(connection, own, key.id, key.created_at)
    return render(
        "console/first_call.html" if is_fragment(request) else "console/first_call_page.html",
        section="keys",
        key=key,
        call=call,
        refused_call=refused,
        error=error_of(refused) if refused else None,
        is_news=refused is not None and refused.request_id != seen,
        look=look,
        pause=_pause(look),
    )


def shown(
    render: Render,
    settings: Settings,
    listing: Listing,
    made: NewApiKey,
    *,
    until: datetime | None = None,
    waits: bool = False,
) -> Response[Any]:
    """Show a new secret, this once, and until when the one before works.

    It `waits` for the first call where that is the organization's first key.
    """
    return render(
        "console/key.html",
        section="keys",
        secret=made.secret,
        key=made.key,
        until=until,
        calls=snippets.calls(settings.public_url, listing.model.id, key=made.secret),
        listing=listing,
        waits=waits,
        call=None,
        refused_call=None,
        look=0,
        pause=_pause(0),
    )


def _pause(look: int) -> int:
    """Return after how many seconds a page looks again; 0 for no more."""
    if look >= LOOKS_MAX:
        return 0
    return 2 if look < LOOKS_OFTEN else 10
