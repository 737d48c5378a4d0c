"""All pages on one router: what they are given, and what stands before each of them."""

from __future__ import annotations

from litestar import Router
from litestar.di import Provide

from gateway.control_plane.site import (
    assets,
    calculator,
    docs,
    home,
    models,
    playground,
    robots,
    status,
)
from gateway.control_plane.site.csrf import CsrfMiddleware
from gateway.control_plane.site.headers import HeadersMiddleware
from gateway.control_plane.site.parts import Site


def router(site: Site, files: assets.Assets) -> Router:
    """Make the router. No middleware of it touches /v1."""
    settings = site.settings
    secure = settings.public_url.startswith("https://")
    pages = Router(
        "/",
        route_handlers=[
            home.show_home,
            models.list_models,
            models.show_model,
            models.compare_models,
            calculator.show_calculator,
            calculator.calculate,
            playground.show_playground,
            playground.experiment,
            docs.show_start,
            docs.show_docs,
            status.show_status,
            robots.read_robots,
            robots.read_sitemap,
        ],
        middleware=[
            HeadersMiddleware(secure=secure),
            CsrfMiddleware(secret=settings.secret, secure=secure),
        ],
        dependencies={"site": Provide(lambda: site, sync_to_thread=False)},
        request_max_body_size=settings.form_bytes_max,
    )
    return Router("/", route_handlers=[assets.route(files), pages])
