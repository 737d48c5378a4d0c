"""Demand that needs operators: models that would pay for their GPU, and launches in progress."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import NEEDS_MAX, Need, Source, Step, tells
from gateway.control_plane.catalog import catalog
from gateway.control_plane.demand import economics, standings
from gateway.control_plane.demand.economics import GpuTerms
from gateway.control_plane.workers import commands
from gateway.money import money
from gateway.storage.tables import launches


def paying_models(terms: GpuTerms) -> Source:
    """Return the source that tells models whose expected demand would pay for their GPU."""

    @tells("A model that is coming soon is expected to earn more than its GPUs cost.")
    async def tell(connection: AsyncConnection, _now: datetime) -> list[Need]:
        found = await standings.listed(connection)
        prices = await catalog.newest_prices(connection, [row.model_id for row in found])
        reports = await commands.reports(connection)
        needs = []
        for row in found:
            capacity = economics.capacity_of(row.model_id, reports)
            price = prices[row.model_id].nanos_per_million_tokens
            seen = economics.outlook(row.standing, price, capacity, terms)
            if seen.pays:
                words = (
                    f"would earn {money(seen.revenue_nanos)} a month at {money(price)}, and its "
                    f"GPUs cost {money(seen.cost_nanos)}"
                )
                steps = (
                    Step("Preview launch", f"/admin/launches/{row.model_id}"),
                    Step("Open demand", f"/admin/demand/{row.model_id}"),
                )
                key = f"demand:{row.model_id}"
                needs.append(
                    Need(key=key, severity="notice", subject=row.model_id, words=words, steps=steps)
                )
        return needs[:NEEDS_MAX]

    return tell


@tells("A launch's emails are being written, or are held back.")
async def launches_under_way(connection: AsyncConnection, _now: datetime) -> list[Need]:
    """Tell launches whose mails are still being written, or are held back."""
    under_way = or_(launches.c.announced_at.is_(None), launches.c.paused_at.is_not(None))
    query = select(launches).where(under_way).order_by(launches.c.launched_at).limit(NEEDS_MAX)
    needs = []
    for row in await connection.execute(query):
        paused = row.paused_at is not None
        written = f"{row.recipients or 0:,} emails are written"
        needs.append(
            Need(
                key=f"launch:{row.model_id}",
                severity="warning" if paused else "notice",
                subject=row.model_id,
                words=f"launch {'is paused' if paused else 'in progress'}; {written}",
                since=row.paused_at or row.launched_at,
                steps=(Step("Open launch", f"/admin/launches/{row.model_id}"),),
            )
        )
    return needs
