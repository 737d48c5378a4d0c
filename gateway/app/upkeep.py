"""The jobs that the control plane runs for the whole deployment."""

from __future__ import annotations

from gateway import wall
from gateway.app.core import Core, partition
from gateway.app.services import Services
from gateway.control_plane.accounts import (
    enrollments,
    key_revocation,
    links,
    passkey_listing,
    sessions,
)
from gateway.control_plane.alerts import deliveries, endpoints, expiring, notices
from gateway.control_plane.attention import snoozes
from gateway.control_plane.attention.lookout import LOOK_SECONDS
from gateway.control_plane.billing.audit import AUDIT_SECONDS, audit_in_turn
from gateway.control_plane.catalog import price_changes
from gateway.control_plane.demand import events, race
from gateway.control_plane.demand.news import NEWS_SECONDS
from gateway.control_plane.mail import upkeep
from gateway.control_plane.payments import stored_events
from gateway.control_plane.secrets.resealing import reseal
from gateway.control_plane.status import answers, request_log, served, traffic
from gateway.control_plane.status.performance import REFRESH_SECONDS
from gateway.control_plane.trail.audits import trail_in_turn
from gateway.control_plane.web import rate_limits
from gateway.control_plane.workers import quarantines
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.ledger import grants, prints
from gateway.storage.ledger.upkeep import reap
from gateway.wings import Job, Wing

_REAP_SECONDS = 5.0
_EXPIRE_SECONDS = 60.0
_PARTITIONS_SECONDS = 3600.0
_FORGET_SECONDS = 3600.0
_CROSSINGS_SECONDS = 5.0
_EXPIRING_SECONDS = 60.0
_LAUNCHES_SECONDS = 10.0
_PRICES_SECONDS = 5.0
_STANDINGS_SECONDS = 20.0
_WEBHOOKS_SECONDS = 1.0
_TRAFFIC_SECONDS = 20.0
_RANKING_SECONDS = 60.0
_APPROVALS_SECONDS = 60.0
_WAITS_SECONDS = 15.0
_HEADS_SECONDS = 60.0
_RESEAL_SECONDS = 3600.0
_FOLDS_MAX = 50


def wing(core: Core, services: Services) -> Wing:
    """Return the jobs."""
    settings, database = core.settings, core.database
    auditing = settings.audit_interval_seconds
    return Wing(
        "control",
        jobs=[
            Job("reap-leases", _REAP_SECONDS, lambda: reap(database)),
            Job("forget-paid-prints", _REAP_SECONDS, lambda: prints.forget(database)),
            Job("usage-partitions", _PARTITIONS_SECONDS, lambda: partition(core)),
            Job(
                "audit",
                auditing,
                lambda: audit_in_turn(database, auditing),
                timeout_seconds=AUDIT_SECONDS,
            ),
            Job("audit-trail", auditing, lambda: trail_in_turn(database, auditing)),
            Job("expire-credit", _EXPIRE_SECONDS, lambda: grants.expire(database)),
            Job("mail-waits", _WAITS_SECONDS, services.mail_waits.measure),
            Job("head-count", _HEADS_SECONDS, services.head_count.count),
            Job("mail", settings.mail_seconds, services.outbox.deliver),
            Job("read-demand", settings.demand_seconds, core.demand_counts.refresh),
            Job("news", NEWS_SECONDS, services.news.refresh),
            Job("demand-standings", _STANDINGS_SECONDS, services.standings.compute),
            Job("price-changes", _PRICES_SECONDS, lambda: price_changes.apply_due(database)),
            Job("price-mails", settings.demand_seconds, services.price_mails.tell),
            Job("read-prices-to-come", settings.demand_seconds, core.prices_to_come.refresh),
            Job("announce-launches", settings.demand_seconds, services.launches.announce),
            Job("tell-launches", _LAUNCHES_SECONDS, services.launch_notices.tell),
            Job("crossings", _CROSSINGS_SECONDS, services.crossings.find),
            Job("expiring-keys", _EXPIRING_SECONDS, lambda: expiring.warn(database)),
            Job("notice-mails", settings.mail_seconds, services.notice_mails.write),
            Job("webhooks", _WEBHOOKS_SECONDS, services.deliverer.run),
            Job("approvals", _APPROVALS_SECONDS, services.moves.run),
            Job("sum-traffic", _TRAFFIC_SECONDS, lambda: traffic.sum_up(database)),
            Job("rank-traffic", _RANKING_SECONDS, lambda: traffic.rank(database)),
            Job("reseal", _RESEAL_SECONDS, lambda: reseal(database, settings.keyring)),
            Job("incidents", settings.incident_seconds, services.incidents.watch),
            Job("served", served.REFRESH_SECONDS, services.served.refresh),
            Job("race", race.REFRESH_SECONDS, services.race.refresh),
            Job("performances", REFRESH_SECONDS, services.performances.refresh),
            Job("api-health", REFRESH_SECONDS, services.api_health.refresh),
            Job("attention", LOOK_SECONDS, services.attention.look),
            Job("forget-old", _FORGET_SECONDS, lambda: forget_old(database, settings)),
        ],
    )


async def forget_old(database: Database, settings: Settings) -> None:
    """Remove rows that are past their retention, in short transactions."""
    async with database.write() as connection:
        await links.forget_old(connection)
        await key_revocation.forget_old(connection)
        await sessions.forget_old(connection)
        await passkey_listing.forget_old(connection)
        await enrollments.forget_old(connection)
        await answers.forget_old(connection, settings.answer_retention_days)
        await traffic.forget_old(connection)
        await snoozes.forget_old(connection)
    async with database.write() as connection:
        await upkeep.forget_old(connection, keep_text=settings.dev_mail)
    await forget_alerts(database)
    for _ in range(_FOLDS_MAX):
        async with database.write() as connection:
            if not await events.fold_old(connection, settings.demand_retention_days):
                break
    for _ in range(_FOLDS_MAX):
        async with database.write() as connection:
            if not await request_log.forget_old(connection, settings.request_log_days):
                break
    for forget in (stored_events.forget_old, rate_limits.forget_old, quarantines.forget_old):
        for _ in range(_FOLDS_MAX):
            async with database.write() as connection:
                if not await forget(connection):
                    break


async def forget_alerts(database: Database) -> None:
    """Remove old deliveries, then old notices and removed endpoints that none names any more."""
    now = wall.now()
    for forget in (deliveries.forget_old, notices.forget_old):
        for _ in range(_FOLDS_MAX):
            async with database.write() as connection:
                if not await forget(connection, now):
                    break
    async with database.write() as connection:
        await endpoints.forget_removed(connection)
