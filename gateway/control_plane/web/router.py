"""The router of all pages, with what comes before each: headers, session, form tokens, bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from litestar import Request, Router
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from gateway.control_plane.accounts.passkeys import RelyingParty
from gateway.control_plane.accounts.sessions import Sessions
from gateway.control_plane.web import forms, visitors
from gateway.control_plane.web.cookies import HostCookie
from gateway.control_plane.web.csrf import CsrfMiddleware
from gateway.control_plane.web.headers import HeadersMiddleware
from gateway.control_plane.web.page_parts import PagePart
from gateway.control_plane.web.parties import party_of
from gateway.control_plane.web.rate_limits import visitor_of
from gateway.control_plane.web.rendering import Render, Renderer
from gateway.settings import Settings

log = structlog.get_logger()

_ENCODED_BYTES_MAX = 12
"""Most bytes of one character in a form: four bytes of UTF-8, each as %XX."""
_OTHER_FIELDS_BYTES = 8_192


class _Pages(Router):
    """What one application alone has: not copied for it, which took a tenth of a second."""

    def __deepcopy__(self, _: Any) -> _Pages:
        return self


def pages(
    handlers: Sequence[ControllerRouterHandler],
    dependencies: Mapping[str, Provide],
    *,
    settings: Settings,
    sessions: Sessions,
    cookie: HostCookie,
    renderer: Renderer,
) -> Router:
    """Make the router of all pages. None of its middleware touches /v1."""
    untold = settings.is_https and not settings.trusted_proxies

    def provide_origin(request: Request[Any, Any, Any]) -> str:
        nonlocal untold
        if untold and "x-forwarded-for" in request.headers:
            untold = False
            log.warning(
                "a proxy adds X-Forwarded-For and GATEWAY_TRUSTED_PROXIES is 0: all visitors have "
                "its address, and share its limits"
            )
        return visitor_of(request, proxies=settings.trusted_proxies)

    def provide_render(request: Request[Any, Any, Any]) -> Render:
        return partial(renderer.page, request)

    def provide_party(request: Request[Any, Any, Any]) -> RelyingParty | None:
        return party_of(request, settings)

    secure = settings.is_https
    return _Pages(
        "/",
        route_handlers=handlers,
        middleware=[
            HeadersMiddleware(renderer.headers),
            visitors.authentication(sessions, cookie).middleware,
            visitors.FreshCookieMiddleware(cookie),
            CsrfMiddleware(secret=settings.keyring.derive("forms"), secure=secure),
        ],
        before_request=forms.refuse_unstorable,
        guards=[visitors.not_while_viewing],
        dependencies={
            **dependencies,
            "origin": PagePart(provide_origin, sync_to_thread=False),
            "render": PagePart(provide_render, sync_to_thread=False),
            "party": PagePart(provide_party, sync_to_thread=False),
        },
        request_max_body_size=max(
            settings.form_bytes_max,
            _ENCODED_BYTES_MAX * settings.calculator_characters_max + _OTHER_FIELDS_BYTES,
        ),
    )
