"""What search engines may read, and where it is."""

from __future__ import annotations

from xml.sax.saxutils import escape

from litestar import Response, get
from litestar.di import NamedDependency

from gateway.control_plane.site.docs import PAGES
from gateway.control_plane.site.parts import Site

_PUBLIC = ("/", "/models", "/compare", "/calculator", "/status")
_PRIVATE = ("/console", "/sign-in", "/waitlist", "/mail", "/dev")


@get("/robots.txt", sync_to_thread=False)
def read_robots(site: NamedDependency[Site]) -> Response[str]:
    """Keep robots out of what is personal."""
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in _PRIVATE)]
    lines += ["", f"Sitemap: {site.settings.public_url}/sitemap.xml", ""]
    return Response("\n".join(lines), media_type="text/plain")


@get("/sitemap.xml", sync_to_thread=False)
def read_sitemap(site: NamedDependency[Site]) -> Response[str]:
    """List the public pages."""
    paths = [
        *_PUBLIC,
        *(f"/docs/{slug}" for slug in PAGES),
        *(listing.path for listing in site.listings()),
    ]
    entries = "".join(
        f"<url><loc>{escape(site.settings.public_url + path)}</loc></url>" for path in paths
    )
    return Response(
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>',
        media_type="application/xml",
    )
