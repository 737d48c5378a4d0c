"""What both planes use: the database, the catalog, and the workers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from backends import registry, tracing
from backends.authentication import parse_secrets
from gateway.app.siblings import Siblings
from gateway.app.worker_sources import worker_sources
from gateway.control_plane.catalog.catalog import PublishedCatalog
from gateway.control_plane.catalog.price_changes import PricesToCome
from gateway.control_plane.demand.asks import Asks
from gateway.control_plane.demand.counts import DemandCounts
from gateway.control_plane.workers.desk import WorkerDesk
from gateway.control_plane.workers.trust import guest_networks, worker_trust
from gateway.data_plane.api import registration
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.tokens import TokenCounter
from gateway.data_plane.routing.discovery.provider import Provider
from gateway.data_plane.routing.discovery.registrations import RegistrationRefused, Registrations
from gateway.data_plane.routing.fleet import Fleet
from gateway.data_plane.routing.router import Router
from gateway.data_plane.routing.settings import RoutingSettings
from gateway.data_plane.tallies import DemandTally, NameTally
from gateway.identifiers import new_id
from gateway.observability import logging, metrics
from gateway.settings import Settings
from gateway.snapshots import WorkerChange, WorkerState
from gateway.storage.clock import FOLLOW_SECONDS, follow
from gateway.storage.database import Database
from gateway.storage.ledger.partitions import maintain, strays
from gateway.storage.schema import SchemaWatch
from gateway.wings import Job, Wing

if TYPE_CHECKING:  # only a deployment with Redis, or with traces, imports them
    from gateway.app.peers import Peers
    from gateway.observability.tracing import Tracing
    from gateway.storage.redis import Presence

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Core:
    """The parts of both planes."""

    settings: Settings
    gateway_id: str
    database: Database
    catalog: PublishedCatalog
    counters: Mapping[str, TokenCounter]
    """Counters of tokens, by the digest of their vocabulary."""
    router: Router
    fleet: Fleet
    desk: WorkerDesk
    registrations: Registrations | None
    """Workers that registered themselves; None without GATEWAY_WORKER_SECRET."""
    presence: Presence | None
    peers: Peers | None
    """The other gateways; None without Redis, like `presence`."""
    siblings: Siblings | None
    """The other processes of this gateway; None if it is the only one."""
    calls: DemandTally
    unknown: NameTally
    demand_counts: DemandCounts
    asks: Asks
    prices_to_come: PricesToCome
    schema: SchemaWatch
    tracing: Tracing | None
    """None where traces are off."""


def make_core(settings: Settings) -> Core:
    """Make the parts; nothing connects yet. Raises SettingsError or DatabaseError."""
    gateway_id, redis_url = new_id(), settings.redis_url
    database = Database(settings.database_url, connections_max=settings.database_connections_max)
    catalog = PublishedCatalog(database)
    presence: Presence | None = None
    peers: Peers | None = None

    def worker_changed(model: str, url: str, change: WorkerChange) -> None:
        out = change.state is WorkerState.QUARANTINED
        say = log.warning if out else log.info
        say("worker", model=model, url=url, state=change.state.value, reason=change.reason)
        if out and peers:
            peers.warn(model, url)

    router = Router(
        partial(registry.connect, trust=worker_trust(settings)),
        settings=RoutingSettings(fatal_input_seconds=settings.fatal_input_seconds),
        gateways=lambda: presence.gateways if presence else settings.gateways * settings.processes,
        observe=worker_changed,
    )
    registrations = None
    if secrets := parse_secrets(settings.worker_secret):
        registrations = Registrations(secrets, guest_networks(settings))
    if redis_url:
        from gateway.app.peers import Peers  # noqa: PLC0415 - 7 MB that few deployments need
        from gateway.storage.redis import Presence  # noqa: PLC0415

        expected = settings.gateways * settings.processes
        presence = Presence(redis_url, gateway_id, expected=expected)
        peers = Peers(redis_url, gateway_id, router, registrations)
    sources = worker_sources(settings)

    def providers(model: str) -> list[Provider]:
        registered = [registrations.provider(model)] if registrations else []
        return [*sources.get(model, []), *registered]

    counters = tokens.counters()
    calls = DemandTally(entries_max=settings.demand_entries_max)
    unknown = NameTally(entries_max=settings.demand_entries_max)
    return Core(
        settings=settings,
        gateway_id=gateway_id,
        database=database,
        catalog=catalog,
        counters=counters,
        router=router,
        fleet=Fleet(router, catalog, providers),
        desk=WorkerDesk(database, router, gateway_id),
        registrations=registrations,
        presence=presence,
        peers=peers,
        siblings=_siblings(settings, registrations),
        calls=calls,
        unknown=unknown,
        demand_counts=DemandCounts(database, calls),
        asks=Asks(database, unknown),
        prices_to_come=PricesToCome(database),
        schema=SchemaWatch(database),
        tracing=_tracing(settings, database),
    )


def _tracing(settings: Settings, database: Database) -> Tracing | None:
    spans = tracing.start("stella-gateway", log.warning)
    if spans is None:
        return None
    from gateway.observability.tracing import Tracing  # noqa: PLC0415 - where traces are on

    made = Tracing(
        spans,
        trusts_callers=settings.trace_callers == "trust",
        database="sqlite" if database.is_sqlite else "postgresql",
    )
    logging.follow(made.live)
    return made


def _siblings(settings: Settings, registrations: Registrations | None) -> Siblings | None:
    if not settings.siblings:
        return None

    def hear(body: bytes, signature: str) -> None:
        if registrations:
            with suppress(RegistrationRefused):  # late
                registrations.announce(body, signature)

    return Siblings(Path(settings.siblings), hear)


def wing(core: Core) -> Wing:
    """Return the routes and jobs of every process: it registers, examines and reports workers.

    Control processes dispatch to workers too, for the playground. So each process has pools of
    its own, obeys `gateway workers`, and counts as one of those that share the workers.
    """
    settings = core.settings

    async def refresh() -> None:
        await core.catalog.refresh()
        await core.fleet.refresh()

    async def pass_on(body: bytes, signature: str) -> None:
        if core.peers:
            await core.peers.pass_on(body, signature)
        elif core.siblings:
            await core.siblings.pass_on(body, signature)

    jobs = [
        Job("clock", FOLLOW_SECONDS, lambda: follow(core.database)),
        Job("catalog", settings.catalog_refresh_seconds, refresh),
        Job("worker-orders", settings.worker_orders_poll_seconds, core.desk.run),
        Job("write-demand", settings.demand_write_seconds, core.demand_counts.flush),
        Job("write-asks", settings.demand_write_seconds, core.asks.flush),
    ]
    if core.presence:
        jobs.append(Job("presence", core.presence.BEAT_SECONDS, core.presence.beat))
    registered = core.registrations
    handlers = [registration.route(registered, core.router, pass_on)] if registered else []
    return Wing("both", handlers, jobs=jobs)


async def partition(core: Core) -> None:
    """Make the partitions of the days ahead, drop those past their retention, and count strays."""
    done = await maintain(core.database, retention_days=core.settings.usage_retention_days)
    for name in done.dropped:
        log.info("partition dropped, its time is over", partition=name)
    for table, rows in done.moved.items():
        log.warning("rows without a partition got one", table=table, rows=rows)
    async with core.database.read() as connection:
        found = await strays(connection)
    for table, rows in found.items():
        metrics.set_strays(table, rows)
        if rows:
            log.error("rows have no partition: their clocks were wrong", table=table, rows=rows)


def warn_of_unknown_models(core: Core) -> None:
    """Warn of workers whose model is not in the catalog.

    It is a mistake, or the model comes later; the workers are used once their model appears.
    """
    known = core.catalog().models
    for model in sorted(worker_sources(core.settings).keys() - known.keys()):
        log.warning(
            "GATEWAY_WORKERS names a model that the catalog does not have",
            model=model,
            known=sorted(known),
        )
