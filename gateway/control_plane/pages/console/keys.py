"""API keys in use: listed, changed, given a new secret, and revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, URLEncodedBody

from gateway import wall
from gateway.control_plane.accounts import key_listing
from gateway.control_plane.accounts.keys import ApiKeys, KeyChanged
from gateway.control_plane.accounts.organizations import KeyDefaults
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing import usage
from gateway.control_plane.billing.usage import Filter
from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.pages.console.key_forms import (
    ChangedKeyForm,
    RotationForm,
    as_it_is,
    typed_again,
)
from gateway.control_plane.pages.console.new_keys import shown
from gateway.control_plane.status import errors
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import having
from gateway.identifiers import new_id
from gateway.settings import Settings
from gateway.storage.database import Database

_MAY = having("keys")

_USED_DAYS = 90
"""How far back to look for the last use of a key."""


@get("/console/keys")
async def list_keys(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    keys: NamedDependency[ApiKeys],
    visitor: NamedDependency[Visitor],
) -> Response[str]:
    """List the organization's keys, what was used last first."""
    budgets = await keys.budgets(visitor.organization_id)
    today = wall.now().date()
    month = Filter(since=today.replace(day=1))
    async with database.read() as connection:
        held = await key_listing.of_organization(connection, visitor.organization_id)
        since = today - timedelta(days=_USED_DAYS)
        used = await key_listing.last_used(connection, visitor.organization_id, since)
        spent = await usage.sums(connection, visitor.organization_id, month, by="key")
        over_budget = await errors.refused_by_budget(connection, visitor.organization_id, today)
    by_use = sorted(held.active, key=lambda key: used.get(key.id, since), reverse=True)
    return render(
        "console/keys.html",
        section="keys",
        saved="saved" in request.query_params,
        active=by_use,
        keyring=held,
        used=used,
        used_days=_USED_DAYS,
        today=today,
        spent={item.group: item.cost_nanos for item in spent},
        budgets=budgets,
        over_budget=over_budget,
        form_id=new_id(),
    )


async def _key_page(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    keys: NamedDependency[ApiKeys],
    visitor: NamedDependency[Visitor],
    key_id: FromPath[str],
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        async with database.read() as connection:
            key = await key_listing.find(connection, visitor.organization_id, key_id)
            today = wall.now().date()
            over_budget = await errors.refused_by_budget(connection, visitor.organization_id, today)
        budget = (await keys.budgets(visitor.organization_id)).get(key_id)
        current = as_it_is(key, budget)
        return render(
            "console/key_settings.html",
            section="keys",
            refused=refused,
            key=key,
            works=bool(key.previous_until and key.previous_until > wall.now()),
            budget=budget,
            refused_today=over_budget.get(key.id, 0),
            form=typed_again(refused, key) if refused else current,
            current=current,
            stale=refused is not None and isinstance(refused.error, KeyChanged),
        )

    return page


@get("/console/keys/{key_id:str}", dependencies={"page": Provide(_key_page)}, guards=[_MAY])
async def show_key(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show one key, and the form that changes it."""
    return await page(None)


@post_form("/console/keys/{key_id:str}", "key", _key_page, guards=[_MAY])
async def change_key(
    keys: NamedDependency[ApiKeys],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    key_id: FromPath[str],
    data: URLEncodedBody[ChangedKeyForm],
) -> Response[Any]:
    """Change a key's name, what it does, and what it may spend."""
    await keys.change(
        key_id,
        organization_id=visitor.organization_id,
        name=data.name,
        token_ids_from=data.token_ids_from(KeyDefaults()),
        truncate=data.truncated_at(KeyDefaults()),
        budget=data.limited(),
        scopes=data.scope_list(),
        seen=data.moment(),
        doer=trail.doer,
    )
    return see_other("/console/keys?saved=1")


@post("/console/keys/{key_id:str}/rotate", guards=[_MAY], status_code=200)
async def rotate_key(
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    keys: NamedDependency[ApiKeys],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    key_id: FromPath[str],
    data: URLEncodedBody[RotationForm],
) -> Response[Any]:
    """Give a key a new secret, and show it, this once."""
    listing = shelf.first  # may raise: do not make a secret that could not be shown
    overlap = timedelta(hours=int(data.overlap_hours))
    made = await keys.rotate(
        key_id, overlap=overlap, organization_id=visitor.organization_id, doer=trail.doer
    )
    return shown(
        render, settings, listing, made, until=made.key.previous_until if overlap else None
    )


@get("/console/keys/{key_id:str}/revoke", guards=[_MAY])
async def ask_to_revoke(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    key_id: FromPath[str],
) -> Response[str]:
    """Ask whether a key is to be revoked, and say when it was used."""
    since = wall.now().date() - timedelta(days=_USED_DAYS)
    async with database.read() as connection:
        key = await key_listing.find(connection, visitor.organization_id, key_id)
        used = await key_listing.last_used(connection, visitor.organization_id, since)
    return render(
        "console/revoke_key.html",
        section="keys",
        key=key,
        last=used.get(key.id),
        used_days=_USED_DAYS,
    )


@post("/console/keys/{key_id:str}/revoke", guards=[_MAY])
async def revoke_key(
    keys: NamedDependency[ApiKeys],
    visitor: NamedDependency[Visitor],
    trail: NamedDependency[MemberTrail],
    key_id: FromPath[str],
) -> Response[Any]:
    """Revoke a key for good."""
    await keys.revoke(key_id, organization_id=visitor.organization_id, doer=trail.doer)
    return see_other("/console/keys")
