"""Golden vectors, as operators pin them."""

from __future__ import annotations

from backends.adapters.trust import Trust
from gateway.control_plane.back_office import acting
from gateway.control_plane.catalog import golden
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail import entries
from gateway.control_plane.workers import trusted
from gateway.storage.database import Database


async def pin(
    database: Database,
    operator: Operator,
    model_id: str,
    url: str,
    *,
    reason: str,
    trust: Trust | None = None,
) -> tuple[str, int]:
    """Vouch for a worker: its answers become its revision's golden vectors, for good.

    `trust` says what the worker must prove to be; None: it is on this machine.

    Returns the revision and the number of rows. Raises NotPermitted, NoReasonGiven, and as
    `trusted.asked`.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    revision, rows = await trusted.asked(database, model_id, url, trust or Trust())
    async with database.write() as connection:
        await golden.pin(connection, model_id, revision, rows)
        await entries.record(
            connection,
            operator.actor,
            "golden.pinned",
            f"model:{model_id}",
            after={"revision": revision, "rows": len(rows), "worker": url},
            reason=said,
        )
    return revision, len(rows)
