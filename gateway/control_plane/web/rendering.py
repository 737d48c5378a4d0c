"""From templates to pages: one environment, strict about names, that escapes everything.

Besides its own context, every page gets the brand, its visitor, the form token and the addresses of
the assets. What people wrote is always text, never markup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response

from gateway import wall
from gateway.control_plane.accounts import addresses, organizations
from gateway.control_plane.alerts.addresses import URL_CHARACTERS_MAX
from gateway.control_plane.billing import credit
from gateway.control_plane.catalog import listings
from gateway.control_plane.demand import votes
from gateway.control_plane.web import formats, snippets, theme
from gateway.control_plane.web.assets import Assets
from gateway.control_plane.web.forms import RefusedForm
from gateway.control_plane.web.visitors import is_read, seems_signed_in
from gateway.identifiers import new_id

Render = Callable[..., Response[str]]
"""`Renderer.page` for the request that a handler answers."""

_WEB = Path(__file__).resolve().parent
_FOLDERS = (_WEB / "templates", *sorted((_WEB.parent / "pages").glob("*/templates")))
"""The shared templates, then those of each wing."""


_LONGEST = {
    "amount": credit.AMOUNT_CHARACTERS_MAX,
    "email": addresses.CHARACTERS_MAX,
    "name": organizations.NAME_CHARACTERS_MAX,
    "search": listings.QUERY_CHARACTERS_MAX,
    "use_case": votes.USE_CASE_CHARACTERS_MAX,
    "url": URL_CHARACTERS_MAX,
}
"""The longest input of each kind of field, for `maxlength`."""


class Renderer:
    """Renders pages. `constants` are the same on all of them, and so are `headers`."""

    def __init__(
        self, assets: Assets, constants: Mapping[str, Any], headers: Mapping[str, str]
    ) -> None:
        self.headers = headers
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
        """Answer a request with a page; `path` is the page's own if a form was sent to another.

        With a refused form, the answer has the status and the headers of its error.
        """
        status = refused.error.status if refused else status
        html = self.html(
            template,
            visitor=request.scope.get("user"),
            # without a route, or while the database is away, the visitor is unknown
            returning=not is_read(request.scope) and seems_signed_in(request.cookies),
            csrf_token=request.scope.get("state", {}).get("csrf_token", ""),
            theme=theme.chosen(request.cookies),
            language=snippets.chosen_language(request.cookies),
            path=path or request.url.path,
            now=wall.now(),
            status=status,
            refused=refused,
            **context,
        )
        return answer(html, status=status, refused=refused)


def answer(html: str, *, status: int = 200, refused: RefusedForm | None = None) -> Response[str]:
    """Answer with HTML; for a refused form, with the status and headers of its error."""
    headers = refused.error.headers if refused else {}
    status = refused.error.status if refused else status
    return Response(html, status_code=status, media_type="text/html", headers=headers)


def is_fragment(request: Request[Any, Any, Any]) -> bool:
    """Tell whether htmx asks for a fragment rather than a page."""
    headers = request.headers
    return headers.get("hx-request") == "true" and headers.get("hx-boosted") != "true"
