"""All pages on one router: what they are given, and what stands before each of them."""

from __future__ import annotations

from litestar import Router
from litestar.di import Provide

from gateway.control_plane.pages.console import routes as console
from gateway.control_plane.pages.docs import docs
from gateway.control_plane.pages.parts import Site
from gateway.control_plane.pages.sign_in import github
from gateway.control_plane.pages.sign_in import mail as sign_in
from gateway.control_plane.pages.storefront import (
    calculator,
    demand,
    home,
    models,
    playground,
    robots,
    status,
    unsubscribe,
)
from gateway.control_plane.web import assets, forms, visitors
from gateway.control_plane.web.csrf import CsrfMiddleware
from gateway.control_plane.web.headers import HeadersMiddleware
from gateway.settings import derive

_ENCODED_BYTES_MAX = 12
"""Of one character in a form: four bytes of UTF-8, each as %XX."""
_OTHER_FIELDS_BYTES = 8_192


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
            sign_in.show_sign_in,
            sign_in.ask_for_link,
            sign_in.show_link,
            sign_in.use_link,
            sign_in.accept_invitation,
            sign_in.sign_out,
            github.go_to_github,
            github.come_back,
            demand.vote,
            demand.withdraw_vote,
            demand.join_waitlist,
            demand.leave_waitlist,
            demand.show_confirm,
            demand.confirm,
            unsubscribe.show_unsubscribe,
            unsubscribe.confirm_unsubscribe,
            unsubscribe.show_sent,
            robots.read_robots,
            console.router(),
            robots.read_sitemap,
        ],
        middleware=[
            HeadersMiddleware(secure=secure),
            visitors.authentication(site.sessions, site.cookie).middleware,
            visitors.FreshCookieMiddleware(site.cookie),
            CsrfMiddleware(secret=derive(settings.secret, "forms"), secure=secure),
        ],
        before_request=forms.refuse_unstorable,
        dependencies={"site": Provide(lambda: site, sync_to_thread=False)},
        request_max_body_size=max(
            settings.form_bytes_max,
            _ENCODED_BYTES_MAX * settings.calculator_characters_max + _OTHER_FIELDS_BYTES,
        ),
    )
    return Router("/", route_handlers=[assets.route(files), assets.favicon(files), pages])
