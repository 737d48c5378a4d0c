"""The audit job: checks the ledger's invariants and exports the breaches as a metric."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from gateway.observability import metrics
from gateway.storage.database import Database
from gateway.storage.ledger import invariants

log = structlog.get_logger()

_LOOK_BACK = timedelta(days=1)


async def audit(database: Database) -> None:
    """Check every invariant: requests of the last day, sums in full. Logs breaches as errors."""
    async with database.read() as connection:
        breaches = await invariants.audit(connection, datetime.now(UTC) - _LOOK_BACK)
    broken = {breach.invariant.name: breach.culprits for breach in breaches}
    for invariant in invariants.INVARIANTS:
        metrics.set_breaches(invariant.name, len(broken.get(invariant.name, ())))
    for name, culprits in broken.items():
        log.error("an invariant of the ledger is broken", invariant=name, culprits=culprits)
