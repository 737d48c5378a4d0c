"""The documentation: pages for people, the same as Markdown for programs."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from gateway.control_plane.accounts import key_listing
from gateway.control_plane.accounts.key_listing import NamedKey
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.pages.docs.manual import PAGES, DocsPage, Manual
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.snippets import VARIABLE
from gateway.control_plane.web.visitors import PageNotFound
from gateway.storage.database import Database

_MARKDOWN = ".md"


@get("/docs")
async def show_start(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    manual: NamedDependency[Manual],
) -> Response[str]:
    """Show the first page."""
    return _shown(render, manual, shelf, await _key(database, request.user), PAGES[0])


@get("/docs/{slug:str}")
async def show_docs(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    shelf: NamedDependency[Shelf],
    manual: NamedDependency[Manual],
    slug: FromPath[str],
) -> Response[str]:
    """Show one page; with `.md` at the end, as Markdown."""
    if slug.endswith(_MARKDOWN):
        page = _found(manual, shelf, slug.removesuffix(_MARKDOWN))
        return Response(page.source, media_type="text/markdown")
    return _shown(render, manual, shelf, await _key(database, request.user), slug)


async def _key(database: Database, visitor: Visitor | None) -> NamedKey | None:
    """Return the key that the reader most likely uses: we know its name and end alone."""
    if visitor is None or not visitor.may("keys"):
        return None
    async with database.read() as connection:
        return await key_listing.newest(connection, visitor.organization_id)


def _shown(
    render: Render, manual: Manual, shelf: Shelf, key: NamedKey | None, slug: str
) -> Response[str]:
    page = _found(manual, shelf, slug)
    pages = list(manual.pages(shelf.first.model).values())
    place = pages.index(page)
    groups: dict[str, list[DocsPage]] = {}
    for one in pages:
        groups.setdefault(one.group, []).append(one)
    return render(
        "docs/page.html",
        page=page,
        groups=groups,
        key=key,
        variable=VARIABLE,
        before=pages[place - 1] if place else None,
        after=pages[place + 1] if place + 1 < len(pages) else None,
    )


def _found(manual: Manual, shelf: Shelf, slug: str) -> DocsPage:
    """Return a page. Raises PageNotFound, or ListingNotFound where there is no model."""
    page = manual.pages(shelf.first.model).get(slug)
    if page is None:
        raise PageNotFound("There is no such page in the documentation.")
    return page
