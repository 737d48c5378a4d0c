"""What search engines may read, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.control_plane.pages.docs.docs import PAGES
from gateway.control_plane.pages.parts import PageNotFound, Site

_PUBLIC = ("/", "/models", "/compare", "/calculator", "/status")
_OTHERS = (*_PUBLIC, *(f"/docs/{slug}" for slug in PAGES))
_PART_PATHS = 1_000
_PRIVATE = ("/console", "/sign-in", "/waitlist", "/mail", "/dev")


@get("/robots.txt", sync_to_thread=False)
def read_robots(site: NamedDependency[Site]) -> Response[str]:
    """Keep robots out of what is personal."""
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in _PRIVATE)]
    lines += ["", f"Sitemap: {site.settings.public_url}/sitemap.xml", ""]
    return Response("\n".join(lines), media_type="text/plain")


@get("/sitemap.xml", sync_to_thread=False)
def read_sitemap(site: NamedDependency[Site], part: FromQuery[int] = 0) -> Response[str]:
    """List the public pages, or a part of them; where they are many, the parts there are.

    A part is a query of the same address, since one in a folder might only list that folder.
    """
    count = len(_OTHERS) + len(site.shelf().listings)
    parts = -(-count // _PART_PATHS)
    if not 0 <= part <= parts:
        raise PageNotFound("There is no such part of the sitemap.")
    if part or parts == 1:
        return _answer(site, "urlset", "url", _paths(site, max(part - 1, 0) * _PART_PATHS))
    every = [f"/sitemap.xml?part={number}" for number in range(1, parts + 1)]
    return _answer(site, "sitemapindex", "sitemap", every)


def _paths(site: Site, start: int) -> list[str]:
    """Return the paths of a part, those that are no model's first."""
    others = _OTHERS[start : start + _PART_PATHS]
    first = max(start - len(_OTHERS), 0)
    last = max(start + _PART_PATHS - len(_OTHERS), 0)
    return [*others, *(listing.path for listing in site.shelf().listings[first:last])]


def _answer(site: Site, kind: str, entry: str, paths: Sequence[str]) -> Response[str]:
    entries = "".join(
        f"<{entry}><loc>{escape(site.settings.public_url + path)}</loc></{entry}>" for path in paths
    )
    return Response(
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<{kind} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{kind}>',
        media_type="application/xml",
    )
