"""The application: every part is made here, given what it needs, started and stopped in order.

Nothing connects before the application starts; a database that can't be used ends the start with
one clear line.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
from litestar import Litestar, Request, Response, asgi
from litestar.exceptions import HTTPException
from litestar.routes import HTTPRoute

from backends import registry
from gateway.control_plane.accounts.keys import ApiKeys, KeyChanges
from gateway.control_plane.billing import routes as billing
from gateway.control_plane.catalog.models import PublishedCatalog
from gateway.control_plane.jobs.auditing import audit
from gateway.control_plane.jobs.runner import Job, Jobs
from gateway.control_plane.site.marketplace import Marketplace
from gateway.data_plane.api import exchange, health, models, openapi
from gateway.data_plane.api.decoding import Limits
from gateway.data_plane.api.embeddings import EmbeddingsEndpoint
from gateway.data_plane.auth.authenticator import Authenticator
from gateway.data_plane.limits.concurrency import InFlight
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.answers import AnswerCounter
from gateway.data_plane.metering.demand import DemandCounter
from gateway.data_plane.metering.engine import EngineRules, LeasedCredits
from gateway.data_plane.metering.journal import Journal
from gateway.data_plane.metering.leases import LeaseRules
from gateway.data_plane.metering.receipts import ReceiptSigner
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
from gateway.settings import Settings, SettingsError
from gateway.snapshots import Catalog
from gateway.storage import migrate
from gateway.storage.announcements import KeyAnnouncements
from gateway.storage.database import Database
from gateway.storage.ledger import grants, partitions
from gateway.storage.ledger.postgres import PostgresLedger
from gateway.storage.ledger.reaper import reap
from gateway.storage.ledger.sqlite import SqliteLedger

log = structlog.get_logger()

_REAP_SECONDS = 5.0
_EXPIRE_SECONDS = 60.0
_PARTITIONS_SECONDS = 3600.0
_SEGMENT_BYTES = 4_194_304


class Gateway:
    """The parts of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(
            settings.database_url, connections_max=settings.database_connections_max
        )
        self.catalog = PublishedCatalog(self.database)
        self.keys = ApiKeys(self.database, secret=settings.secret, announce=self._key_changed)
        self.authenticator = Authenticator(
            self.keys,
            secret=settings.secret,
            entries_max=settings.key_cache_entries,
            trusted_seconds=settings.key_cache_seconds,
            stale_seconds=settings.key_stale_seconds,
        )
        self.announcements = (
            KeyAnnouncements(settings.redis_url, self.authenticator.forget)
            if settings.redis_url
            else None
        )
        self.receipts = ReceiptSigner(settings.secret)
        self.ledger = open_ledger(self.database)
        self.credit = make_credit(settings, self.ledger, journal_folder(settings, self.database))
        self.pools = make_pools(settings, self.catalog)
        counter = tokens.load()
        self.counters = {counter.vocabulary_sha256: counter}
        self.demand = DemandCounter(entries_max=settings.demand_entries_max)
        self.answers = AnswerCounter(entries_max=settings.answer_entries_max)
        self.marketplace = Marketplace(
            settings,
            database=self.database,
            catalog=self.catalog,
            keys=self.keys,
            counters=self.counters,
            workers=self.pools,
            calls=self.demand,
            answers=self.answers,
        )
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
            sign=self.receipts.sign if settings.receipts else None,
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
            await self.marketplace.interest.refresh()
            if self.announcements:
                await self.announcements.start()
                stack.push_async_callback(self.announcements.stop)
            await self._partition()
            stack.push_async_callback(self.ledger.close)
            await self.credit.start()
            stack.push_async_callback(self.credit.close)
            stack.push_async_callback(self.marketplace.interest.flush)
            stack.push_async_callback(self.marketplace.answered.flush)
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
            Job("reap-leases", _REAP_SECONDS, lambda: reap(self.database)),
            Job("usage-partitions", _PARTITIONS_SECONDS, self._partition),
            Job("audit", self.settings.audit_interval_seconds, lambda: audit(self.database)),
            Job("expire-credit", _EXPIRE_SECONDS, lambda: grants.expire(self.database)),
            *self.marketplace.jobs(),
        ]

    async def _partition(self) -> None:
        days = self.settings.usage_retention_days
        for name in await partitions.maintain(self.database, retention_days=days):
            log.info("usage dropped, its time is over", partition=name)

    async def _key_changed(self, digest: bytes) -> None:
        self.authenticator.forget(digest)
        if self.announcements:
            await self.announcements.announce(digest)


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
            asgi("/v1/embeddings", copy_scope=False)(
                exchange.post(gateway.endpoint.answer, gateway.answers)
            ),
            asgi("/v1/embeddings/estimate", copy_scope=False)(
                exchange.post(gateway.endpoint.estimate, gateway.answers)
            ),
            models.router(gateway.endpoint),
            billing.router(gateway.authenticator.authenticate, gateway.database, gateway.receipts),
            *health.routes(gateway.catalog, gateway.pools.statuses),
            openapi.route(settings.public_url, version("stella-gateway"), billing.OPERATIONS),
            gateway.marketplace.routes(),
        ],
        lifespan=[lifespan],
        exception_handlers={HTTPException: _answer_error, Exception: _answer_error},
        request_max_body_size=settings.body_bytes_max,
        openapi_config=None,
        logging_config=None,
    )
    app.state.gateway = gateway
    return app


def open_ledger(database: Database) -> PostgresLedger | SqliteLedger:
    """Return the ledger of a database."""
    return SqliteLedger(database) if database.is_sqlite else PostgresLedger(database)


def make_credit(
    settings: Settings, ledger: PostgresLedger | SqliteLedger, folder: Path
) -> LeasedCredits:
    """Make the credit engine, with its journal in a folder of its own."""
    return LeasedCredits(
        ledger,
        Journal(
            folder,
            new_id(),
            bytes_max=settings.journal_bytes_max,
            segment_bytes=min(_SEGMENT_BYTES, settings.journal_bytes_max),
        ),
        leases=LeaseRules(
            lease_seconds=settings.lease_seconds,
            margin_seconds=settings.lease_seconds / 9,
            renew_seconds=settings.lease_seconds / 3,
            slice_nanos=settings.lease_slice_nanos,
            slice_nanos_max=settings.lease_slice_nanos_max,
        ),
        rules=EngineRules(
            commit_seconds=settings.commit_seconds, credit_seconds=settings.credit_wait_seconds
        ),
    )


def journal_folder(settings: Settings, database: Database) -> Path:
    """Return where the journals of the processes on this database lie."""
    if settings.journal_path:
        return Path(settings.journal_path)
    if database.is_sqlite and database.url.database:
        return Path(f"{database.url.database}.journals")
    return Path(".data/journal")


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


def _answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Give every error OpenAI's envelope, those of the framework included; browsers get a page."""
    request_id = new_id()
    known = error if isinstance(error, GatewayError) else _translate(error, request, request_id)
    marketplace: Marketplace = request.app.state.gateway.marketplace
    if page := marketplace.answer_error(request, known, request_id):
        return page
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
