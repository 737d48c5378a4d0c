"""The control plane of one process: its domain objects, its pages and its jobs.

Only a process that runs it imports it (see `gateway.app.planes`): its pages, and what they are
built with, take much of a process's memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import structlog
from litestar import Request, Response
from litestar.di import Provide

from gateway.app import payments, upkeep
from gateway.app.core import Core
from gateway.app.services import Services, Web, make_services, make_web
from gateway.control_plane.pages.admin.routes import admin_wing
from gateway.control_plane.pages.console.routes import console_wing
from gateway.control_plane.pages.docs.routes import docs_wing, public_paths
from gateway.control_plane.pages.sign_in.entering import Entering
from gateway.control_plane.pages.sign_in.routes import sign_in_wing
from gateway.control_plane.pages.storefront.routes import storefront_wing
from gateway.control_plane.web import assets, error_pages
from gateway.control_plane.web.page_parts import PagePart
from gateway.control_plane.web.router import pages
from gateway.data_plane.api import openapi
from gateway.errors import GatewayError
from gateway.networks import is_loopback
from gateway.settings import Settings
from gateway.wings import Operation, Wing

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """The parts that serve the pages, and the jobs for the whole deployment."""

    services: Services
    web: Web
    wings: list[Wing]

    def error_page(
        self, request: Request[Any, Any, Any], error: GatewayError, request_id: str
    ) -> Response[Any] | None:
        """Show an error to a person; None for a path that is for programs."""
        if not error_pages.wants_page(request):
            return None
        return error_pages.answer(self.web.renderer, request, error, request_id)

    async def close(self) -> None:
        """Close the connections that its jobs and pages opened."""
        await self.services.deliverer.stop()
        if self.services.payments:
            await self.services.payments.stripe.close()


def make_control_plane(
    core: Core,
    *,
    key_changed: Callable[[bytes], Awaitable[None]],
    operations: list[Operation],
) -> ControlPlane:
    """Make the parts; nothing connects yet. Raises SettingsError.

    `operations` are those of the data plane, for /openapi.json.
    """
    settings = core.settings
    payments.warn_of_test_mode(settings)
    _warn_of_legal_pages(settings)
    services = make_services(core, key_changed=key_changed)
    web = make_web(core)
    wings = [
        upkeep.wing(core, services),
        payments.wing(settings, core.database, services.payments),
        _pages(core, services, web),
    ]
    described = [*operations, *(operation for wing in wings for operation in wing.operations)]
    document = openapi.route(settings.public_url, version("stella-gateway"), described)
    wings.append(Wing("control", [document]))
    return ControlPlane(services=services, web=web, wings=wings)


def _warn_of_legal_pages(settings: Settings) -> None:
    """Warn which pages can't be shown, unless only people at this machine could open them."""
    if settings.what_is_unfilled and not is_loopback(urlsplit(settings.public_url).hostname or ""):
        log.warning("legal pages are missing", why=settings.what_is_unfilled)


def _pages(parts: Core, services: Services, web: Web) -> Wing:
    """Put the page wings behind one session and form token; handlers name the parts they use."""
    storefront = storefront_wing(public_paths(parts.settings))
    wings = [
        storefront,
        sign_in_wing(Entering(services.welcome, services.sessions, services.security_mails)),
        console_wing(),
        docs_wing(parts.settings, storefront.operations),
        admin_wing(),
    ]
    named = {
        field.name: getattr(struct, field.name)
        for struct in (parts, services, web)
        for field in fields(struct)
    }
    sold = services.payments
    named |= {
        "checkout": sold.checkout if sold else None,
        "reconciler": sold.reconciler if sold else None,
    }
    dependencies: dict[str, Provide] = {name: _provide(part) for name, part in named.items()}
    current: dict[str, Callable[[], Any]] = {
        "shelf": services.shelves,
        "worker_statuses": parts.router.statuses,
    }
    dependencies |= {name: _provide_anew(part) for name, part in current.items()}
    for wing in wings:
        dependencies |= wing.dependencies
    router = pages(
        [handler for wing in wings for handler in wing.handlers],
        dependencies,
        settings=parts.settings,
        sessions=services.sessions,
        cookie=web.cookie,
        renderer=web.renderer,
    )
    return Wing(
        "control",
        [router, *assets.routes(web.assets)],
        jobs=[job for wing in wings for job in wing.jobs],
        operations=[operation for wing in wings for operation in wing.operations],
    )


def _provide(part: Any) -> PagePart:
    return PagePart(lambda: part, sync_to_thread=False)


def _provide_anew(read: Callable[[], Any]) -> PagePart:
    return PagePart(lambda: read(), sync_to_thread=False)  # noqa: PLW0108 - Litestar would read its annotations
