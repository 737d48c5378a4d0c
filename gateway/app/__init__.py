"""The composition root: every part is made here and given what it needs.

Nothing connects before the application starts; a database that can't be used ends the start with
one clear line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from typing import Any

from litestar.di import Provide

from gateway.app import core, hot_path, jobs, payments
from gateway.app.core import Core, make_core
from gateway.app.hot_path import make_data_plane
from gateway.app.process import Process, runs
from gateway.app.services import Services, Web, make_services, make_web
from gateway.control_plane.pages.admin.routes import admin_wing
from gateway.control_plane.pages.console.routes import console_wing
from gateway.control_plane.pages.docs.routes import PATHS, docs_wing
from gateway.control_plane.pages.sign_in.entering import Entering
from gateway.control_plane.pages.sign_in.routes import sign_in_wing
from gateway.control_plane.pages.storefront.routes import storefront_wing
from gateway.control_plane.web import assets
from gateway.control_plane.web.router import pages
from gateway.data_plane.api import openapi
from gateway.observability import logging
from gateway.settings import Settings
from gateway.wings import Wing


def build(settings: Settings | None = None) -> Process:
    """Make a process: its parts, and the application over them.

    Raises SettingsError or DatabaseError for what can't be used.
    """
    settings = settings or Settings.from_environment()
    logging.configure(settings.log_format)
    parts = make_core(settings)
    data = make_data_plane(parts)
    services = make_services(parts, key_changed=data.key_changed)
    web = make_web(parts)
    wings = [core.wing(parts), *hot_path.wings(parts, data), jobs.wing(parts, services)]
    wings.append(payments.wing(settings, parts.database, services.payments))
    if runs(settings.role, "control"):  # its routers take a tenth of a second to make
        wings.append(_pages(parts, services, web))
    operations = [operation for wing in wings for operation in wing.operations]
    document = openapi.route(settings.public_url, version("stella-gateway"), operations)
    wings.append(Wing("control", [document]))
    return Process(parts, data, services, web, wings)


def _pages(parts: Core, services: Services, web: Web) -> Wing:
    """Put the page wings behind one session and form token; handlers name the parts they use."""
    wings = [
        storefront_wing(PATHS),
        sign_in_wing(Entering(services.welcome, services.sessions, services.security_mails)),
        console_wing(),
        docs_wing(),
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
    dependencies = {name: _provide(part) for name, part in named.items()}
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


def _provide(part: Any) -> Provide:
    return Provide(lambda: part, sync_to_thread=False)


def _provide_anew(read: Callable[[], Any]) -> Provide:
    return Provide(lambda: read(), sync_to_thread=False)  # noqa: PLW0108 - Litestar copies its callable
