"""The application: every part is made here, given what it needs, started and stopped in order.

Nothing connects before the application starts; a database that can't be used ends the start with
one clear line.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import structlog
from litestar import Litestar, asgi
from litestar.exceptions import HTTPException

from backends import registry
from gateway.app import credit, errors
from gateway.app.jobs import Jobs
from gateway.app.peers import Neighbours
from gateway.control_plane.accounts.keys import ApiKeys, KeyChanges
from gateway.control_plane.billing import api as billing
from gateway.control_plane.billing.audit import audit
from gateway.control_plane.catalog.catalog import PublishedCatalog
from gateway.control_plane.pages.marketplace import Marketplace
from gateway.control_plane.web.headers import answer_head
from gateway.control_plane.workers.commands import WorkerDesk
from gateway.data_plane.api import exchange, health, models, openapi, registration
from gateway.data_plane.api.embeddings import EmbeddingsEndpoint
from gateway.data_plane.api.preferences import Patience
from gateway.data_plane.api.replays import Replays
from gateway.data_plane.api.requests import Limits
from gateway.data_plane.auth.authenticator import Authenticator
from gateway.data_plane.limits.concurrency import InFlight
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.counting import CountingThreads
from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.data_plane.routing.discovery.provider import Provider
from gateway.data_plane.routing.discovery.registrations import Registrations
from gateway.data_plane.routing.fleet import DNS, Fleet, parse_workers, provider
from gateway.data_plane.routing.router import Router
from gateway.data_plane.tallies import AnswerCounter, DemandCounter
from gateway.identifiers import new_id
from gateway.observability import logging
from gateway.settings import Settings, SettingsError
from gateway.snapshots import WorkerChange, WorkerState
from gateway.storage import migrate
from gateway.storage.database import Database
from gateway.storage.ledger import grants, upkeep
from gateway.storage.ledger.upkeep import reap
from gateway.storage.redis import BEAT_SECONDS, KeyAnnouncements, Presence
from gateway.wings import Job

log = structlog.get_logger()

_REAP_SECONDS = 5.0
_EXPIRE_SECONDS = 60.0
_PARTITIONS_SECONDS = 3600.0


class Gateway:
    """The parts of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.id = new_id()
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
        self.ledger = credit.open_ledger(self.database)
        self.credit = credit.engine(settings, self.database, self.ledger)
        redis_url = settings.redis_url
        self.presence = (
            Presence(redis_url, self.id, expected=settings.gateways) if redis_url else None
        )
        self.router = Router(
            registry.connect, gateways=self._gateways, observe=self._worker_changed
        )
        self.worker_leases = (
            Registrations(settings.worker_secret.encode()) if settings.worker_secret else None
        )
        self.neighbours = (
            Neighbours(redis_url, self.id, self.router, self.worker_leases) if redis_url else None
        )
        self._sources = worker_sources(settings)
        self.fleet = Fleet(self.router, self.catalog, self._providers)
        counter = tokens.load()
        self.counters = {counter.vocabulary_sha256: counter}
        self.counting = CountingThreads(settings.counting_threads)
        self.demand = DemandCounter(entries_max=settings.demand_entries_max)
        self.answers = AnswerCounter(entries_max=settings.answer_entries_max)
        self.marketplace = Marketplace(
            settings,
            database=self.database,
            catalog=self.catalog,
            keys=self.keys,
            counters=self.counters,
            router=self.router,
            calls=self.demand,
            answers=self.answers,
        )
        self.endpoint = EmbeddingsEndpoint(
            authenticator=self.authenticator,
            catalog=self.catalog,
            counters=self.counters,
            counting=self.counting,
            credit=self.credit,
            demand=self.demand,
            in_flight=InFlight(
                total_max=settings.in_flight_max,
                organization_max=settings.organization_in_flight_max,
            ),
            limits=Limits(
                inputs_max=settings.inputs_max,
                input_characters_max=settings.input_characters_max,
                request_characters_max=settings.request_characters_max,
                request_tokens_max=settings.request_tokens_max,
                answer_floats_max=settings.answer_floats_max,
            ),
            public_url=settings.public_url,
            replays=Replays(
                seconds=settings.replay_seconds,
                bytes_max=settings.replay_bytes_max,
                waiting_max=settings.replay_waiting_max,
                key_characters_max=settings.idempotency_key_characters_max,
            ),
            router=self.router,
            sign=self.receipts.sign if settings.receipts else None,
            body_bytes_max=settings.body_bytes_max,
            patience=Patience(
                timeout_seconds=settings.request_timeout_seconds,
                hold_seconds=settings.hold_seconds,
                hold_seconds_max=settings.hold_seconds_max,
            ),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start everything, and stop it in the reverse order."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.database.close)
            stack.callback(self.counting.close)
            await migrate.check(self.database)
            await self.catalog.refresh()
            self._warn_of_unknown_models()
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
            if self.presence:
                stack.push_async_callback(self.presence.stop)
            if self.neighbours:
                await self.neighbours.start()
                stack.push_async_callback(self.neighbours.stop)
            await self.fleet.refresh()
            stack.push_async_callback(self.fleet.stop)
            jobs = Jobs(self._jobs())
            await jobs.start()
            stack.push_async_callback(jobs.stop)
            # what lives as long as the process is not looked through again and again for garbage:
            # a full collection over it stops the loop for a tenth of a second and more
            gc.freeze()
            stack.callback(gc.unfreeze)
            yield

    def _jobs(self) -> list[Job]:
        desk = WorkerDesk(self.database, self.router, self.id)
        changes = KeyChanges(self.database, self.authenticator.forget)
        jobs = [Job("presence", BEAT_SECONDS, self.presence.beat)] if self.presence else []
        return [
            *jobs,
            Job("key-changes", self.settings.revocation_poll_seconds, changes.read),
            Job("catalog", self.settings.catalog_refresh_seconds, self._refresh),
            Job("worker-orders", self.settings.worker_orders_poll_seconds, desk.run),
            Job("reap-leases", _REAP_SECONDS, lambda: reap(self.database)),
            Job("usage-partitions", _PARTITIONS_SECONDS, self._partition),
            Job("audit", self.settings.audit_interval_seconds, lambda: audit(self.database)),
            Job("expire-credit", _EXPIRE_SECONDS, lambda: grants.expire(self.database)),
            *self.marketplace.jobs(),
        ]

    async def _partition(self) -> None:
        days = self.settings.usage_retention_days
        for name in await upkeep.maintain(self.database, retention_days=days):
            log.info("usage dropped, its time is over", partition=name)

    def _warn_of_unknown_models(self) -> None:
        """Say which workers are for no model that there is: a mistake, or a seed that comes later.

        No reason not to start: they are found once the catalogue has their model.
        """
        for model in sorted(self._sources.keys() - self.catalog().models.keys()):
            log.warning(
                "GATEWAY_WORKERS names a model that the catalogue does not have",
                model=model,
                known=sorted(self.catalog().models),
            )

    def _providers(self, model: str) -> list[Provider]:
        leased = [self.worker_leases.provider(model)] if self.worker_leases else []
        return [*self._sources.get(model, []), *leased]

    def _gateways(self) -> int:
        return self.presence.gateways if self.presence else self.settings.gateways

    def _worker_changed(self, model: str, url: str, change: WorkerChange) -> None:
        out = change.state is WorkerState.QUARANTINED
        say = log.warning if out else log.info
        say("worker", model=model, url=url, state=change.state.value, reason=change.reason)
        if out and self.neighbours:
            self.neighbours.warn(model, url)

    async def announced(self, body: bytes, signature: str) -> None:
        """Let the other gateways know of a worker that registered itself here."""
        if self.neighbours:
            await self.neighbours.pass_on(body, signature)

    async def _refresh(self) -> None:
        await self.catalog.refresh()
        await self.fleet.refresh()

    async def _key_changed(self, digest: bytes) -> None:
        self.authenticator.forget(digest)
        if self.announcements:
            await self.announcements.announce(digest)


def create_app(settings: Settings | None = None) -> Litestar:
    """Make the application. Raises SettingsError or DatabaseError for what can't be used."""
    settings = settings or Settings.from_environment()
    logging.configure(settings.log_format)
    gateway = Gateway(settings)

    registrations = []
    if gateway.worker_leases:
        announced = registration.route(gateway.worker_leases, gateway.router, gateway.announced)
        registrations.append(announced)

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
            *health.routes(
                gateway.catalog,
                gateway.router,
                lambda: gateway.credit.away_seconds,
                ledger_away_seconds_max=settings.ledger_away_seconds_max,
            ),
            *registrations,
            openapi.route(settings.public_url, version("stella-gateway"), billing.OPERATIONS),
            gateway.marketplace.routes(),
        ],
        lifespan=[lifespan],
        exception_handlers={HTTPException: errors.answer, Exception: errors.answer},
        request_max_body_size=settings.body_bytes_max,
        openapi_config=None,
        logging_config=None,
    )
    app.state.gateway = gateway
    app.asgi_handler = answer_head(app.asgi_handler)
    return app


def worker_sources(settings: Settings) -> dict[str, list[Provider]]:
    """Say where the workers of GATEWAY_WORKERS are, by model. Raises SettingsError."""
    try:
        found = parse_workers(settings.workers)
        for url in (url for urls in found.values() for url in urls):
            registry.connect(url.removeprefix(DNS))  # opens nothing; knows what an address is
        return {model: [provider(url) for url in urls] for model, urls in found.items()}
    except ValueError as error:
        raise SettingsError(f"GATEWAY_WORKERS: {error}") from None
