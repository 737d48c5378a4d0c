"""From templates to pages: one environment, strict about names, that escapes everything.

Every page gets the same few things beside its own: the brand, who looks at it, the form token, and
the addresses of the assets. What is written by people is text to the templates, never markup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response

from gateway.control_plane.accounts import addresses, organizations
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import listings
from gateway.control_plane.demand import votes
from gateway.control_plane.web import formats, snippets
from gateway.control_plane.web.assets import Assets
from gateway.control_plane.web.forms import RefusedForm
from gateway.control_plane.web.visitors import is_read, seems_signed_in
from gateway.identifiers import new_id

Render = Callable[..., Response[str]]
"""`Renderer.page` for the request that a handler answers."""

_WEB = Path(__file__).resolve().parent
_FOLDERS = (_WEB / "templates", *sorted((_WEB.parent / "pages").glob("*/templates")))
"""The kit's own, and those beside each wing of the pages."""


_LONGEST = {
    "amount": credit.AMOUNT_CHARACTERS_MAX,
    "email": addresses.CHARACTERS_MAX,
    "name": organizations.NAME_CHARACTERS_MAX,
    "search": listings.QUERY_CHARACTERS_MAX,
    "use_case": votes.USE_CASE_CHARACTERS_MAX,
}
"""Most characters of what is typed, so that a field takes no more than is read of it."""


class Renderer:
    """Renders pages. `constants` are the same on all of them."""

    def __init__(self, assets: Assets, constants: Mapping[str, Any]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDERS),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(formats.FILTERS)
        self._environment.globals.update(
            asset=assets.url,
            highlight=snippets.highlight,
            longest=_LONGEST,
            new_id=new_id,
            **constants,
        )

    def html(self, template: str, **context: Any) -> str:
        """Render a template by itself: a fragment, or a page without a request."""
        return self._environment.get_template(template).render(**context)

    def page(
        self,
        request: Request[Any, Any, Any],
        template: str,
        *,
        status: int = 200,
        path: str = "",
        refused: RefusedForm | None = None,
        **context: Any,
    ) -> Response[str]:
        """Answer a request with a page; `path` is the page's own, where a form was sent elsewhere.

        One with a form that was refused has the status and the headers of its error.
        """
        status = refused.error.status if refused else status
        html = self.html(
            template,
            visitor=request.scope.get("user"),
            # an address that no route has, or a database that is away: nobody knows who asks
            returning=not is_read(request.scope) and seems_signed_in(request.cookies),
            csrf_token=request.scope.get("state", {}).get("csrf_token", ""),
            path=path or request.url.path,
            now=datetime.now(UTC),
            status=status,
            refused=refused,
            **context,
        )
        return answer(html, status=status, refused=refused)


def answer(html: str, *, status: int = 200, refused: RefusedForm | None = None) -> Response[str]:
    """Answer with a page or a fragment; one that was refused as its error says."""
    headers = refused.error.headers if refused else {}
    status = refused.error.status if refused else status
    return Response(html, status_code=status, media_type="text/html", headers=headers)


def is_fragment(request: Request[Any, Any, Any]) -> bool:
    """Tell whether htmx asks for a part of the page, and not for a page."""
    headers = request.headers
    return headers.get("hx-request") == "true" and headers.get("hx-boosted") != "true"
