"""The search field of every page, sent by POST: so a key that is pasted there is in no address."""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, URLEncodedBody

from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.back_office import search
from gateway.control_plane.back_office.search import Hit
from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.web.forms import see_other
from gateway.control_plane.web.rendering import Render
from gateway.data_plane.auth.keys import is_well_formed
from gateway.storage.database import Database

_MODELS_MAX = 10
_HEADINGS = {
    "organization": "Organizations",
    "person": "People",
    "key": "Keys",
    "payment": "Payments",
    "mail": "Mails",
    "event": "Stripe's events",
    "request": "Requests",
}


class SearchForm(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for."""

    q: str = ""


class FoundModel(NamedTuple):
    """A model of the catalog whose id or title holds the words."""

    id: str
    title: str
    state: str


@post("/admin/search")
async def start_search(
    keys: NamedDependency[ApiKeys], data: URLEncodedBody[SearchForm]
) -> Response[Any]:
    """Go to the hits. A whole key is recognized here, and its id is looked for instead."""
    words = data.q.strip()
    if is_well_formed(words):
        known = await keys.recognize(words)
        words = known or f"…{words[-4:]}"
    return see_other(f"/admin/search?q={quote(words[: search.WORDS_MAX], safe='')}")


@get("/admin/search")
async def show_hits(
    database: NamedDependency[Database],
    shelf: NamedDependency[Shelf],
    render: NamedDependency[Render],
    q: FromQuery[str] = "",
) -> Response[str]:
    """Show what was found, by kind."""
    words = q.strip()[: search.WORDS_MAX]
    async with database.read() as connection:
        hits = await search.search(connection, words)
    return render(
        "admin/search.html",
        section="search",
        q=words,
        groups=[
            (_HEADINGS[kind], list(some)) for kind, some in groupby(hits, key=lambda hit: hit.kind)
        ],
        models=_models(shelf, words),
        found=_count(hits),
    )


def _models(shelf: Shelf, words: str) -> list[FoundModel]:
    asked = words.casefold().split()
    if not asked:
        return []
    found = [
        FoundModel(listing.model.id, listing.page.title, listing.model.state)
        for listing in shelf.listings
        if all(word in listing.text for word in asked)
    ]
    return found[:_MODELS_MAX]


def _count(hits: list[Hit]) -> int:
    return len({(hit.kind, hit.id) for hit in hits})
