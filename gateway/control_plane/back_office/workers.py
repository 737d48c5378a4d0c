"""What operators have workers do: drain, serve again, prove themselves now."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.back_office import acting
from gateway.control_plane.operators.operators import Operator
from gateway.control_plane.trail import entries
from gateway.control_plane.workers import commands
from gateway.control_plane.workers.commands import Wish
from gateway.errors import NotFound
from gateway.storage.tables import worker_orders

WorkerAction = Literal["drain", "undrain", "check"]

_DONE: dict[WorkerAction, tuple[str, Wish | None]] = {
    "drain": ("worker.drained", "drain"),
    "undrain": ("worker.undrained", "serve"),
    "check": ("worker.checked", None),
}


class NoSuchWorker(NotFound):
    """No running gateway knows a worker with this address."""

    code = "worker_not_found"


async def command(
    connection: AsyncConnection,
    operator: Operator,
    action: WorkerAction,
    url: str,
    *,
    reason: str,
) -> None:
    """Order something of a worker, in all its pools; running gateways obey within a second or two.

    Raises NotPermitted, NoReasonGiven or NoSuchWorker.
    """
    operator.must("service")
    said = acting.checked(operator, reason)
    wishes = await _wishes(connection, url)
    if not wishes:
        raise NoSuchWorker(
            f"No running gateway knows a worker {url[:200]}; see gateway workers list."
        )
    name, wish = _DONE[action]
    for model in sorted(wishes):
        await commands.order(connection, model, url, wish=wish)
    await entries.record(
        connection,
        operator.actor,
        name,
        f"worker:{url}",
        before={"wish": wishes},
        after={"wish": {model: wish or before for model, before in wishes.items()}},
        reason=said,
    )


async def _wishes(connection: AsyncConnection, url: str) -> dict[str, str]:
    """Return what is wanted of a worker now, by model."""
    known = {
        report.model: "serve"
        for report in await commands.reports(connection)
        if report.worker.url == url
    }
    ordered = await connection.execute(
        select(worker_orders.c.model_id, worker_orders.c.wish).where(worker_orders.c.url == url)
    )
    # an order outlives the reports: a drained worker may be undrained before it is seen again
    return known | {row.model_id: row.wish for row in ordered}
