"""The application: every part is made here, given what it needs, started and stopped in order.

Nothing connects before the application starts; a database that can't be used ends the start with
one clear line.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import structlog
from litestar import Litestar, Request, Response, asgi
from litestar.exceptions import HTTPException
from litestar.routes import HTTPRoute

from backends import registry
from gateway.control_plane.accounts import links, sessions
from gateway.control_plane.accounts.keys import ApiKeys, KeyChanges
from gateway.control_plane.accounts.links import MailLinks
from gateway.control_plane.accounts.sessions import Sessions
from gateway.control_plane.accounts.welcome import Welcome
from gateway.control_plane.catalog import pages
from gateway.control_plane.catalog.models import PublishedCatalog
from gateway.control_plane.demand.events import Interest
from gateway.control_plane.demand.launches import Announcements, Offer
from gateway.control_plane.jobs.runner import Job, Jobs
from gateway.control_plane.mail.messages import MailWriter
from gateway.control_plane.mail.outbox import Outbox
from gateway.control_plane.mail.smtp import LogSender, NullSender, Sender, SmtpSender
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.control_plane.site import errors as error_pages
from gateway.control_plane.site import routes as site_routes
from gateway.control_plane.site.assets import Assets
from gateway.control_plane.site.limits import Limit
from gateway.control_plane.site.parts import Site
from gateway.control_plane.site.rendering import Renderer
from gateway.control_plane.site.session import SessionCookie
from gateway.control_plane.status.incidents import Incidents
from gateway.data_plane.api import exchange, health, models, openapi
from gateway.data_plane.api.decoding import Limits
from gateway.data_plane.api.embeddings import EmbeddingsEndpoint
from gateway.data_plane.auth.authenticator import Authenticator
from gateway.data_plane.limits.concurrency import InFlight
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.demand import DemandCounter
from gateway.data_plane.routing.pool import Pools, parse_workers
from gateway.errors import (
    BadRequest,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    ServerError,
    TooLarge,
)
from gateway.identifiers import new_id
from gateway.observability import logging
from gateway.settings import Settings, SettingsError, derive
from gateway.snapshots import Catalog
from gateway.storage import migrate
from gateway.storage.announcements import KeyAnnouncements
from gateway.storage.database import Database
from gateway.storage.ledger import grants
from gateway.storage.ledger.transactional import TransactionalCredits

log = structlog.get_logger()

_REAP_SECONDS = 5.0
_EXPIRE_SECONDS = 60.0
_FORGET_SECONDS = 3600.0


class Gateway:
    """The parts of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(
            settings.database_url, connections_max=settings.database_connections_max
        )
        self.catalog = PublishedCatalog(self.database)
        self.keys = ApiKeys(self.database, secret=settings.secret)
        self.authenticator = Authenticator(
            self.keys,
            secret=settings.secret,
            entries_max=settings.key_cache_entries,
            trusted_seconds=settings.key_cache_seconds,
            stale_seconds=settings.key_stale_seconds,
        )
        self.credit = TransactionalCredits(
            self.database, reservation_seconds=settings.reservation_seconds
        )
        self.pools = make_pools(settings, self.catalog)
        counter = tokens.load()
        self.counters = {counter.vocabulary_sha256: counter}
        self.incidents = Incidents(self.database, workers=self.pools.statuses, catalog=self.catalog)
        self.demand = DemandCounter(entries_max=settings.demand_entries_max)
        self.interest = Interest(self.database, self.demand)
        self.outbox = make_outbox(settings, self.database)
        self.assets = Assets()
        self.site = make_site(self)
        self.announcements = make_announcements(self.site)
        self.endpoint = EmbeddingsEndpoint(
            authenticator=self.authenticator,
            catalog=self.catalog,
            counters=self.counters,
            credit=self.credit,
            demand=self.demand,
            in_flight=InFlight(
                total_max=settings.in_flight_max,
                organization_max=settings.organization_in_flight_max,
            ),
            limits=Limits(
                inputs_max=settings.inputs_max,
                input_characters_max=settings.input_characters_max,
                request_tokens_max=settings.request_tokens_max,
                answer_floats_max=settings.answer_floats_max,
            ),
            public_url=settings.public_url,
            router=self.pools,
            body_bytes_max=settings.body_bytes_max,
            timeout_seconds=settings.request_timeout_seconds,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start everything, and stop it in the reverse order."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            await migrate.check(self.database)
            await self.catalog.refresh()
            await self.interest.refresh()
            if self.settings.redis_url:
                announcements = KeyAnnouncements(self.settings.redis_url, self.authenticator.forget)
                await announcements.start()
                stack.push_async_callback(announcements.stop)
            await self.pools.start()
            stack.push_async_callback(self.pools.stop)
            jobs = Jobs(self._jobs())
            await jobs.start()
            stack.push_async_callback(jobs.stop)
            yield

    def _jobs(self) -> list[Job]:
        changes = KeyChanges(self.database, self.authenticator.forget)
        return [
            Job("key-changes", self.settings.revocation_poll_seconds, changes.read),
            Job("catalog", self.settings.catalog_refresh_seconds, self.catalog.refresh),
            Job("reap-reservations", _REAP_SECONDS, self.credit.reap),
            Job("expire-credit", _EXPIRE_SECONDS, self._expire),
            Job("mail", self.settings.mail_seconds, self.outbox.deliver),
            Job("demand", self.settings.demand_seconds, self.interest.refresh),
            Job("announce-launches", self.settings.demand_seconds, self.announcements.announce),
            Job("forget-old", _FORGET_SECONDS, self._forget_old),
            Job("incidents", self.settings.incident_seconds, self.incidents.watch),
        ]

    async def _expire(self) -> None:
        async with self.database.write() as connection:
            await grants.expire(connection, datetime.now(UTC))

    async def _forget_old(self) -> None:
        async with self.database.write() as connection:
            await links.forget_old(connection)
            await sessions.forget_old(connection)


def create_app(settings: Settings | None = None) -> Litestar:
    """Make the application. Raises SettingsError or DatabaseError for what can't be used."""
    settings = settings or Settings.from_environment()
    logging.configure(settings.log_format)
    gateway = Gateway(settings)

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    app = Litestar(
        route_handlers=[
            asgi("/v1/embeddings", copy_scope=False)(exchange.post(gateway.endpoint.answer)),
            asgi("/v1/embeddings/estimate", copy_scope=False)(
                exchange.post(gateway.endpoint.estimate)
            ),
            models.router(gateway.endpoint),
            *health.routes(gateway.catalog, gateway.pools.statuses),
            openapi.route(settings.public_url, version("stella-gateway")),
            site_routes.router(gateway.site, gateway.assets),
        ],
        lifespan=[lifespan],
        exception_handlers={HTTPException: _answer_error, Exception: _answer_error},
        request_max_body_size=settings.body_bytes_max,
        openapi_config=None,
        logging_config=None,
    )
    app.state.gateway = gateway
    return app


def make_pools(settings: Settings, catalog: Callable[[], Catalog]) -> Pools:
    """Make the pools of GATEWAY_WORKERS. Raises SettingsError."""
    try:
        return Pools(
            parse_workers(settings.workers),
            connect=registry.connect,
            catalog=catalog,
            health_interval_seconds=settings.health_interval_seconds,
        )
    except ValueError as error:
        raise SettingsError(f"GATEWAY_WORKERS: {error}") from None


def make_outbox(settings: Settings, database: Database) -> Outbox:
    """Make the outbox, with the way out that is configured. Raises SettingsError."""
    sender: Sender
    if settings.smtp_url:
        sender = SmtpSender(settings.smtp_url, sender=settings.mail_from)
    elif settings.dev_mail:
        sender = LogSender()
    else:
        sender = NullSender()
    return Outbox(
        database,
        sender,
        pending_max=settings.mail_pending_max,
        attempts_max=settings.mail_attempts_max,
        host=urlsplit(settings.public_url).hostname or "localhost",
        keep_text=settings.dev_mail,
    )


def make_site(gateway: Gateway) -> Site:
    """Gather what the pages are made of."""
    settings = gateway.settings
    constants = {"brand": settings.brand, "public_url": settings.public_url}
    shown = {**constants, "dev_mail": settings.dev_mail, "credit": settings.signup_credit_nanos}
    secure = settings.public_url.startswith("https://")
    return Site(
        settings=settings,
        database=gateway.database,
        catalog=gateway.catalog,
        pages=pages.reviewed(),
        counters=gateway.counters,
        router=gateway.pools,
        workers=gateway.pools.statuses,
        renderer=Renderer(gateway.assets, shown),
        incidents=gateway.incidents,
        keys=gateway.keys,
        sessions=Sessions(
            gateway.database,
            secret=derive(settings.secret, "sessions"),
            seconds=settings.session_seconds,
            rotation_seconds=settings.session_rotation_seconds,
        ),
        cookie=SessionCookie(secure=secure, seconds=settings.session_seconds),
        links=MailLinks(
            secret=derive(settings.secret, "links"),
            seconds=settings.mail_link_seconds,
            per_hour=settings.mail_links_per_hour,
        ),
        welcome=Welcome(
            credit_nanos=settings.signup_credit_nanos,
            credit_days=settings.signup_credit_days,
            day_nanos=settings.promotion_nanos_per_day,
        ),
        writer=MailWriter(constants),
        outbox=gateway.outbox,
        unsubscriptions=Unsubscriptions(
            secret=derive(settings.secret, "unsubscribe"), public_url=settings.public_url
        ),
        calculations=Limit(settings.calculations_per_hour),
        experiments=Limit(settings.experiments_per_hour),
        sign_ins=Limit(settings.sign_ins_per_hour),
        votes=Limit(settings.votes_per_hour),
        interest=gateway.interest,
    )


def make_announcements(site: Site) -> Announcements:
    """Make the job that tells people of launches."""
    settings = site.settings

    def is_live(model_id: str) -> bool:
        model = site.catalog().models.get(model_id)
        return model is not None and model.state == "live"

    return Announcements(
        site.database,
        site.outbox,
        site.writer,
        site.unsubscriptions,
        Offer(
            credit_nanos=settings.launch_credit_nanos,
            credit_days=settings.signup_credit_days,
            wave_mails=settings.launch_wave_mails,
            wave_seconds=settings.launch_wave_seconds,
        ),
        is_live=is_live,
        titles={model_id: page.title for model_id, page in site.pages.items()},
        public_url=settings.public_url,
    )


def _answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Give every error OpenAI's envelope, those of the framework included; browsers get a page."""
    request_id = new_id()
    known = error if isinstance(error, GatewayError) else _translate(error, request, request_id)
    if error_pages.wants_page(request):
        site = request.app.state.gateway.site
        return error_pages.answer(site.renderer, request, known, request_id)
    return Response(
        known.envelope(),
        status_code=known.status,
        media_type="application/json",
        headers={"x-request-id": request_id, **known.headers},
    )


def _translate(error: Exception, request: Request[Any, Any, Any], request_id: str) -> GatewayError:
    status = error.status_code if isinstance(error, HTTPException) else 500
    match status:
        case 404:
            return NotFound("There is nothing at this path; see /openapi.json.")
        case 405:
            methods = ", ".join(_methods(request))
            return MethodNotAllowed(f"Use {methods} here.", headers={"allow": methods})
        case 413:
            return TooLarge("The body is too large.")
        case _ if 400 <= status < 500:
            return BadRequest("The request can't be read as it is.")
    log.error("request failed", request=request_id, exc_info=error)
    return ServerError("Our mistake; nothing was charged.")


def _methods(request: Request[Any, Any, Any]) -> list[str]:
    """Return what the path does answer to: HTTP wants it said, and Litestar does not say it."""
    found: set[str] = set()
    for route in request.app.routes:
        pattern = re.sub(r"\\\{[^}]*:path\\\}", ".+", re.escape(route.path))
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", pattern)
        if isinstance(route, HTTPRoute) and re.fullmatch(pattern, request.url.path):
            found.update(route.methods)
    return sorted(found - {"OPTIONS"})
