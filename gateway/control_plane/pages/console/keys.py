"""API keys: created, changed, revoked. A key is shown once, in a command that is ready to paste."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, URLEncodedBody

from gateway import wall
from gateway.control_plane.accounts import key_listing, organizations
from gateway.control_plane.accounts.api_key import NewApiKey
from gateway.control_plane.accounts.key_listing import HeldKey
from gateway.control_plane.accounts.keys import ApiKeys, KeyChanged, KeyMade
from gateway.control_plane.accounts.organizations import KeyDefaults
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing.credit import nanos_of_dollars
from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.web import snippets
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.recording import MemberTrail
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import having
from gateway.data_plane.metering.port import Period
from gateway.errors import BadRequest
from gateway.identifiers import is_id, new_id
from gateway.money import money
from gateway.settings import Settings
from gateway.snapshots import SCOPES, Scope, TokenIdsFrom, Truncate
from gateway.storage.database import Database
from gateway.storage.ledger.budgets import Budget

_MAY = having("keys")

KeyScopes = Literal["embed", "read", "embed read"]
_USED_DAYS = 90
"""How far back to look for the last use of a key."""


class KeyForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is to be."""

    name: str = "default"
    scopes: KeyScopes = "embed"
    integers: Literal["", "refuse", "model"] = ""
    """Empty, here and in `truncate`: the organization's default."""
    truncate: Literal["", "refuse", "end", "start"] = ""
    budget: str = ""
    """In dollars; empty: whatever the organization has."""
    budget_period: Period = "month"

    def token_ids_from(self, defaults: KeyDefaults) -> TokenIdsFrom | None:
        """Return whose token ids its arrays of integers are."""
        if self.integers == "":
            return defaults.token_ids_from
        return None if self.integers == "refuse" else self.integers

    def truncated_at(self, defaults: KeyDefaults) -> Truncate | None:
        """Return which end of its long texts is cut off."""
        if self.truncate == "":
            return defaults.truncate
        return None if self.truncate == "refuse" else self.truncate

    def scope_list(self) -> list[Scope]:
        """Return what it may do."""
        return [scope for scope in SCOPES if scope in self.scopes.split()]

    def limited(self) -> Budget | None:
        """Return its budget. Raises BadRequest."""
        if not self.budget.strip():
            return None
        return Budget(
            limit_nanos=nanos_of_dollars(self.budget, param="budget"), period=self.budget_period
        )


class NewKeyForm(KeyForm, frozen=True, kw_only=True):
    """A new key. `id` is the form's: sent twice, it makes one key."""

    id: str = ""
    expires_days: Literal["", "7", "30", "90", "365"] = ""


class ChangedKeyForm(KeyForm, frozen=True, kw_only=True):
    """Changes to a key. `seen` is when it was last changed before the form was shown."""

    seen: str = ""

    def moment(self) -> datetime | None:
        """Return the time in `seen`, if any. Raises BadRequest."""
        if not self.seen:
            return None
        with contextlib.suppress(ValueError):
            seen = datetime.fromisoformat(self.seen)
            if seen.tzinfo is not None:
                return seen
        raise BadRequest("The form was altered: open the key's page again.")


class RotationForm(msgspec.Struct, frozen=True):
    """How long the secret before works, too."""

    overlap_hours: Literal["0", "1", "24", "168"] = "24"


async def _keys_page(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    keys: NamedDependency[ApiKeys],
    visitor: NamedDependency[Visitor],
) -> FormPage:
    async def page(refused: RefusedForm | None) -> Response[str]:
        budgets = await keys.budgets(visitor.organization_id)
        async with database.read() as connection:
            held = await key_listing.of_organization(connection, visitor.organization_id)
            defaults = await organizations.defaults(connection, visitor.organization_id)
            since = wall.now().date() - timedelta(days=_USED_DAYS)
            used = await key_listing.last_used(connection, visitor.organization_id, since)
        form = _prefilled(defaults)
        if refused and not isinstance(refused.error, KeyMade):
            form = refused.typed
        return render(
            "console/keys.html",
            section="keys",
            refused=refused,
            form=form,
            saved="saved" in request.query_params,
            keyring=held,
            used=used,
            used_days=_USED_DAYS,
            budgets=budgets,
        )

    return page


@get("/console/keys", dependencies={"page": Provide(_keys_page)})
async def list_keys(page: NamedDependency[FormPage]) -> Response[Any]:
    """List the organization's keys."""
    return await page(None)


@post_form("/console/keys", "key", _keys_page, guards=[_MAY], status_code=200)
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
    return _shown(render, settings, listing, made)


def _shown(
    render: Render,
    settings: Settings,
    listing: Listing,
    made: NewApiKey,
    *,
    until: datetime | None = None,
) -> Response[Any]:
    """Show a new secret, this once, and until when the one before works."""
    return render(
        "console/key.html",
        section="keys",
        secret=made.secret,
        made=made.key,
        until=until,
        calls=snippets.calls(settings.public_url, listing.model.id, key=made.secret),
        listing=listing,
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
        budget = (await keys.budgets(visitor.organization_id)).get(key_id)
        current = _as_it_is(key, budget)
        return render(
            "console/key_settings.html",
            section="keys",
            refused=refused,
            key=key,
            works=bool(key.previous_until and key.previous_until > wall.now()),
            budget=budget,
            form=_typed(refused, key) if refused else current,
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
    return _shown(
        render, settings, listing, made, until=made.key.previous_until if overlap else None
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


def _prefilled(defaults: KeyDefaults) -> NewKeyForm:
    """Return the empty form, with the organization's defaults."""
    return NewKeyForm(
        id=new_id(),
        name="",
        integers=defaults.token_ids_from or "refuse",
        truncate=defaults.truncate or "refuse",
    )


def _typed(refused: RefusedForm, key: HeldKey) -> ChangedKeyForm:
    """Return what was typed; after a conflict, sending it again replaces what is shown now."""
    typed: ChangedKeyForm = refused.typed
    if not isinstance(refused.error, KeyChanged):
        return typed
    return msgspec.structs.replace(typed, seen=key.changed_at.isoformat())


def _as_it_is(key: HeldKey, budget: Budget | None) -> ChangedKeyForm:
    return ChangedKeyForm(
        seen=key.changed_at.isoformat(),
        name=key.name,
        scopes=msgspec.convert(key.scopes, KeyScopes),
        integers=key.token_ids_from or "refuse",
        truncate=key.truncate or "refuse",
        budget=money(budget.limit_nanos).replace(",", "") if budget else "",
        budget_period=budget.period if budget else "month",
    )
