"""What the control plane repeats in the background, for all processes of a deployment."""

from __future__ import annotations

import structlog

from gateway.app.core import Core
from gateway.app.services import Services
from gateway.control_plane.accounts import links, sessions
from gateway.control_plane.billing.audit import audit
from gateway.control_plane.demand import events
from gateway.control_plane.mail import upkeep
from gateway.control_plane.status import answers
from gateway.control_plane.web import rate_limits
from gateway.settings import Settings
from gateway.storage.database import Database
from gateway.storage.ledger import grants
from gateway.storage.ledger.upkeep import maintain, reap
from gateway.wings import Job, Wing

log = structlog.get_logger()

_REAP_SECONDS = 5.0
_EXPIRE_SECONDS = 60.0
_PARTITIONS_SECONDS = 3600.0
_FORGET_SECONDS = 3600.0
_FOLDS_MAX = 50


def wing(core: Core, services: Services) -> Wing:
    """Return the jobs."""
    settings, database = core.settings, core.database
    return Wing(
        "control",
        jobs=[
            Job("reap-leases", _REAP_SECONDS, lambda: reap(database)),
            Job("usage-partitions", _PARTITIONS_SECONDS, lambda: partition(core)),
            Job("audit", settings.audit_interval_seconds, lambda: audit(database)),
            Job("expire-credit", _EXPIRE_SECONDS, lambda: grants.expire(database)),
            Job("mail", settings.mail_seconds, services.outbox.deliver),
            Job("read-demand", settings.demand_seconds, core.demand_counts.refresh),
            Job("announce-launches", settings.demand_seconds, services.launches.announce),
            Job("incidents", settings.incident_seconds, services.incidents.watch),
            Job("forget-old", _FORGET_SECONDS, lambda: forget_old(database, settings)),
        ],
    )


async def partition(core: Core) -> None:
    """Make the partitions of usage for the days ahead, and drop those past their retention."""
    days = core.settings.usage_retention_days
    for name in await maintain(core.database, retention_days=days):
        log.info("usage dropped, its time is over", partition=name)


async def forget_old(database: Database, settings: Settings) -> None:
    """Remove what is past its retention, in short transactions."""
    async with database.write() as connection:
        await links.forget_old(connection)
        await sessions.forget_old(connection)
        await answers.forget_old(connection, settings.answer_retention_days)
    async with database.write() as connection:
        await upkeep.forget_old(connection, keep_text=settings.dev_mail)
    for _ in range(_FOLDS_MAX):
        async with database.write() as connection:
            if not await events.fold_old(connection, settings.demand_retention_days):
                break
    for _ in range(_FOLDS_MAX):
        async with database.write() as connection:
            if not await rate_limits.forget_old(connection):
                break
