"""API keys: made, named, ended. A key is shown once, inside a command that is ready to paste."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody

from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.billing.credits import nanos_of_dollars
from gateway.control_plane.site import snippets
from gateway.control_plane.site.forms import see_other
from gateway.control_plane.site.parts import Site
from gateway.data_plane.metering.credits import Period
from gateway.errors import BadRequest
from gateway.snapshots import TokenIdsFrom
from gateway.storage.ledger.budgets import Budget


class TooManyKeys(BadRequest):
    """No more keys fit."""

    code = "too_many_keys"


class KeyForm(msgspec.Struct, frozen=True):
    """A new key."""

    name: str = "default"
    expires_days: Literal["", "7", "30", "90", "365"] = ""
    integers: Literal["", "model"] = ""
    truncate: Literal["", "end", "start"] = ""
    budget: str = ""
    """Dollars; nothing: what the organization has."""
    budget_period: Period = "month"


class NameForm(msgspec.Struct, frozen=True):
    """Another name."""

    name: str


@get("/console/keys")
async def list_keys(
    request: Request[Any, Any, Any], site: NamedDependency[Site], visitor: NamedDependency[Visitor]
) -> Response[str]:
    """List the organization's keys."""
    return await _page(request, site, visitor)


@post("/console/keys", status_code=200)
async def create_key(
    request: Request[Any, Any, Any],
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    data: URLEncodedBody[KeyForm],
) -> Response[str]:
    """Make a key and show it, this once: the answer is the only place where it stands."""
    held = [key for key in await site.keys.listed(visitor.organization_id) if not key.revoked_at]
    most = site.settings.organization_keys_max
    if len(held) >= most:
        raise TooManyKeys(f"An organization has at most {most} keys: revoke one first.")
    listing = site.first()  # before a key is made that no page would show
    days = int(data.expires_days) if data.expires_days else None
    token_ids: TokenIdsFrom | None = data.integers or None
    made = await site.keys.create(
        visitor.organization_id,
        data.name,
        expires_at=datetime.now(UTC) + timedelta(days=days) if days else None,
        token_ids_from=token_ids,
        truncate=data.truncate or None,
        budget=_budget(data),
    )
    return site.renderer.page(
        request,
        "console/key.html",
        section="keys",
        secret=made.secret,
        made=made.key,
        command=snippets.curl(site.settings.public_url, listing.model.id, key=made.secret),
        listing=listing,
    )


@post("/console/keys/{key_id:str}/rename")
async def rename_key(
    site: NamedDependency[Site],
    visitor: NamedDependency[Visitor],
    key_id: FromPath[str],
    data: URLEncodedBody[NameForm],
) -> Response[Any]:
    """Give a key another name."""
    await site.keys.rename(key_id, data.name, organization_id=visitor.organization_id)
    return see_other("/console/keys")


@post("/console/keys/{key_id:str}/revoke")
async def revoke_key(
    site: NamedDependency[Site], visitor: NamedDependency[Visitor], key_id: FromPath[str]
) -> Response[Any]:
    """End a key for good."""
    await site.keys.revoke(key_id, organization_id=visitor.organization_id)
    return see_other("/console/keys")


async def _page(request: Request[Any, Any, Any], site: Site, visitor: Visitor) -> Response[str]:
    keys = await site.keys.listed(visitor.organization_id)
    budgets = await site.keys.budgets(visitor.organization_id)
    return site.renderer.page(
        request,
        "console/keys.html",
        section="keys",
        keys=[key for key in reversed(keys) if key.revoked_at is None],
        revoked=[key for key in reversed(keys) if key.revoked_at is not None],
        budgets=budgets,
    )


def _budget(form: KeyForm) -> Budget | None:
    if not form.budget.strip():
        return None
    return Budget(limit_nanos=nanos_of_dollars(form.budget), period=form.budget_period)
