"""Terms, privacy, security and contact: texts of ours, filled in with who operates the service.

They say what this version does, with the periods that are set. A page that lacks a setting is not
there; the terms and the privacy policy may be the operator's own, elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.response import Redirect

from gateway import wall
from gateway.control_plane.mail.upkeep import ONCE_ROW_DAYS, TEXT_DAYS
from gateway.control_plane.pages.docs import facts, markdown
from gateway.control_plane.pages.docs.manual import CONTENT, environment, split
from gateway.control_plane.web.formats import contact
from gateway.control_plane.web.rendering import Render
from gateway.control_plane.web.visitors import PageNotFound
from gateway.selling import is_page
from gateway.settings import Settings

_DAY_SECONDS = 86_400
_EXPIRES = timedelta(days=180)
"""RFC 9116 wants to know when a security.txt is stale: it is written anew at each request."""


@get(["/terms", "/privacy", "/security", "/contact"])
async def show_legal(
    request: Request[Any, Any, Any],
    settings: NamedDependency[Settings],
    render: NamedDependency[Render],
) -> Response[Any]:
    """Show a page, or lead to the operator's own."""
    path = request.url.path
    place = settings.legal_pages.get(path)
    if place is None:
        raise PageNotFound("The operator of this gateway has not filled in this page.")
    if place != path:
        return Redirect(place, status_code=302)
    front, article = _letter(settings, path.removeprefix("/"))
    return render("docs/letter.html", front=front, article=article)


@get(["/impressum", "/imprint"])
async def show_imprint(settings: NamedDependency[Settings]) -> Redirect:
    """Lead to who operates the service: by these names the page is looked for in Europe."""
    place = settings.legal_pages.get("/contact")
    if place is None:
        raise PageNotFound("The operator of this gateway has not filled in this page.")
    return Redirect(place, status_code=302)


@get(["/.well-known/security.txt", "/security.txt"])
async def read_security(settings: NamedDependency[Settings]) -> Response[str]:
    """Say where vulnerabilities are reported (RFC 9116)."""
    if not settings.security_contact:
        raise PageNotFound("The operator of this gateway has named no address.")
    expires = (wall.now() + _EXPIRES).strftime("%Y-%m-%dT00:00:00Z")
    lines = [
        f"Contact: mailto:{settings.security_contact}",
        f"Expires: {expires}",
        "Preferred-Languages: en",
        f"Canonical: {settings.public_url}/.well-known/security.txt",
        f"Policy: {settings.public_url}/security",
        "",
    ]
    return Response("\n".join(lines), media_type="text/plain")


@lru_cache(maxsize=16)
def _letter(settings: Settings, slug: str) -> tuple[Mapping[str, str], markdown.Article]:
    written = (CONTENT / "legal" / f"{slug}.md").read_text()
    front, body = split(environment().from_string(written).render(_filled(settings)))
    return front, markdown.read(body)


def _filled(settings: Settings) -> dict[str, Any]:
    """Return what the texts name."""
    support = contact(settings.support)
    subprocessors = _listed(settings.subprocessors)
    return facts.held(settings) | {
        "legal_details": _listed(settings.legal_details),
        "legal_law": settings.legal_law,
        "dpa": settings.legal_dpa,
        "dpa_page": settings.legal_dpa if is_page(settings.legal_dpa) else "",
        "security_email": settings.security_contact,
        "support": support,
        "support_words": support.removeprefix("mailto:"),
        "subprocessors": subprocessors,
        "stripe_listed": any(one.casefold().startswith("stripe") for one in subprocessors),
        "price_notice_days": settings.price_notice_days,
        "session_days": f"{settings.session_seconds / _DAY_SECONDS:,.4g}",
        "mail_days": f"{ONCE_ROW_DAYS:,}",
        "mail_text_days": f"{TEXT_DAYS:,}",
    }


def _listed(words: str) -> list[str]:
    return [one for line in re.split("[;\n]", words) if (one := line.strip())]
