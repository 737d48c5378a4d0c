"""Asking for a model that the catalog does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery, URLEncodedBody

from gateway.control_plane.catalog.listings import Listing, Shelf
from gateway.control_plane.catalog.search import matching
from gateway.control_plane.demand import asks
from gateway.control_plane.pages.storefront.paging import address
from gateway.control_plane.web.forms import FormPage, RefusedForm, post_form, see_other
from gateway.control_plane.web.rate_limits import Quota
from gateway.control_plane.web.rendering import Render
from gateway.storage.database import Database

_NEAR_MAX = 5


class AskForm(msgspec.Struct, frozen=True):
    """The name of a model."""

    model: str


async def _ask_page(
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    model: FromQuery[str] = "",
    asked: FromQuery[str] = "",
) -> FormPage:
    """Provide the page of the form; `asked` names what was just asked for."""

    async def page(refused: RefusedForm | None) -> Response[Any]:
        done = "" if refused else asks.normalized(asked) or ""
        name = refused.typed.model if refused else model
        return render(
            "ask.html",
            path="/ask",
            refused=refused,
            asked=done,
            name=name,
            near=_near(shelf, done or name),
            characters_max=asks.NAME_CHARACTERS_MAX,
        )

    return page


@get("/ask", dependencies={"page": Provide(_ask_page)})
async def show_ask(page: NamedDependency[FormPage]) -> Response[Any]:
    """Show the form, with a name that a search or an address did not find."""
    return await page(None)


@post_form("/ask", "ask", _ask_page)
async def ask(
    database: NamedDependency[Database],
    shelf: NamedDependency[Shelf],
    ask_quota: NamedDependency[Quota],
    origin: NamedDependency[str],
    data: URLEncodedBody[AskForm],
) -> Response[Any]:
    """Count the wish; a model that is here already is shown instead."""
    known = shelf.by_id.get(asks.normalized(data.model) or "")
    if known:
        return see_other(known.path)
    await ask_quota.take(origin)
    async with database.write() as connection:
        name = await asks.ask(connection, data.model)
    return see_other(address("/ask", {"asked": name}))


def _near(shelf: Shelf, name: str) -> Sequence[Listing]:
    """Return models of the catalog that may be meant."""
    known = asks.normalized(name)
    if known is None:
        return ()
    return matching(shelf, known.rpartition("/")[2])[:_NEAR_MAX]
