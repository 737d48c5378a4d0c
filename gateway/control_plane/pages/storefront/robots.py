"""robots.txt and the sitemap."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.control_plane.catalog.collections import COLLECTIONS
from gateway.control_plane.catalog.listings import Shelf
from gateway.control_plane.pages.storefront.pills import path_of
from gateway.control_plane.web.visitors import PageNotFound
from gateway.control_plane.web.xml_text import xml_text
from gateway.settings import Settings

_PUBLIC = ("/", "/models", "/compare", "/calculator", "/ask", "/status")
_PART_PATHS = 1_000
_PRIVATE = ("/console", "/sign-in", "/waitlist", "/mail", "/dev")


@get("/robots.txt", sync_to_thread=False)
def read_robots(settings: NamedDependency[Settings]) -> Response[str]:
    """Keep robots out of personal pages."""
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in _PRIVATE)]
    lines += ["", f"Sitemap: {settings.public_url}/sitemap.xml", ""]
    return Response("\n".join(lines), media_type="text/plain")


@get("/sitemap.xml", sync_to_thread=False)
def read_sitemap(
    settings: NamedDependency[Settings],
    shelf: NamedDependency[Shelf],
    document_paths: NamedDependency[tuple[str, ...]],
    part: FromQuery[int] = 0,
) -> Response[str]:
    """List the public pages; if they are many, an index of parts, or one part.

    A part is a query of the same path, since a sitemap in a folder may list only that folder.
    """
    fixed = (*_PUBLIC, *document_paths, *_lists(shelf))
    count = len(fixed) + len(shelf.listings)
    parts = -(-count // _PART_PATHS)
    if not 0 <= part <= parts:
        raise PageNotFound("There is no such part of the sitemap.")
    if part or parts == 1:
        paths = _paths(fixed, shelf, max(part - 1, 0) * _PART_PATHS)
        return _answer(settings.public_url, "urlset", "url", paths)
    every = [f"/sitemap.xml?part={number}" for number in range(1, parts + 1)]
    return _answer(settings.public_url, "sitemapindex", "sitemap", every)


def _lists(shelf: Shelf) -> list[str]:
    """Return the paths of the collections that hold a model, and of the authors."""
    held = [one for one in COLLECTIONS if any(map(one.holds, shelf.listings))]
    return [*map(path_of, held), *(f"/models/{quote(author)}" for author in shelf.by_author)]


def _paths(fixed: Sequence[str], shelf: Shelf, start: int) -> list[str]:
    """Return the paths of one part: the fixed pages first, then those of models."""
    first = max(start - len(fixed), 0)
    last = max(start + _PART_PATHS - len(fixed), 0)
    models = (listing.path for listing in shelf.listings[first:last])
    return [*fixed[start : start + _PART_PATHS], *models]


def _answer(public_url: str, kind: str, entry: str, paths: Sequence[str]) -> Response[str]:
    entries = "".join(
        f"<{entry}><loc>{xml_text(public_url + path)}</loc></{entry}>" for path in paths
    )
    return Response(
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<{kind} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{kind}>',
        media_type="application/xml",
    )
