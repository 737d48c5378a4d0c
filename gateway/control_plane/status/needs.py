"""What needs an operator about the service: models without a worker, credit that runs dry."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import NEEDS_MAX, Need, Step, tells
from gateway.money import money
from gateway.storage.ledger.reading import leased_unspent
from gateway.storage.tables import (
    accounts,
    auto_top_ups,
    incidents,
    organizations,
    total,
    traffic_leaders,
    usage_hours,
)

_RATE_HOURS = 6
"""The hours whose usage is the rate; the one that goes on is one of them."""
_HOURS = 12
"""Credit that is gone before that is told of."""
_WORTH_NANOS = 10**8
"""Slower spending, in an hour, is not: it is mostly the welcome credit that people try out."""


@tells("No worker of a live model is ready.")
async def down(connection: AsyncConnection, _now: datetime) -> list[Need]:
    """Tell of live models that no worker serves."""
    found = await connection.execute(
        select(incidents)
        .where(incidents.c.ended_at.is_(None))
        .order_by(incidents.c.started_at)
        .limit(NEEDS_MAX)
    )
    return [
        Need(
            key=f"down:{row.id}",
            severity="critical",
            subject=row.model_id,
            words="has no ready worker: its requests are refused",
            since=row.started_at,
            steps=(
                Step("Open workers", "/admin/workers"),
                Step("Tell the public", f"/admin/incidents/{row.id}"),
            ),
        )
        for row in found
    ]


@tells(
    f"The credit of one of the organizations that spend most is gone within {_HOURS} hours at the "
    f"rate of the last {_RATE_HOURS}, {money(_WORTH_NANOS)} an hour or more, and no auto top-up "
    "buys more."
)
async def running_dry(connection: AsyncConnection, now: datetime) -> list[Need]:
    """Tell of large customers whose requests will soon be refused."""
    today = now.date()
    since = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=_RATE_HOURS - 1)
    leader, used = traffic_leaders.c, usage_hours.c
    busy = select(leader.organization_id).where(leader.day.in_((today - timedelta(days=1), today)))
    spent = (
        select(total(used.charged_nanos))
        .where(used.organization_id == accounts.c.id, used.hour >= since)
        .correlate(accounts)
        .scalar_subquery()
    )
    buys = exists().where(
        auto_top_ups.c.organization_id == accounts.c.id,
        auto_top_ups.c.enabled.is_(True),
        auto_top_ups.c.paused == "",
    )
    found = await connection.execute(
        select(
            accounts.c.id,
            organizations.c.name,
            (accounts.c.available_nanos + leased_unspent()).label("left"),
            spent.label("spent"),
        )
        .join(organizations, organizations.c.id == accounts.c.id)
        .where(accounts.c.id.in_(busy), ~buys)
        .order_by(accounts.c.id)
    )
    needs = []
    for row in found:
        rate = row.spent * 3600 // max(int((now - since).total_seconds()), 1)
        if rate < _WORTH_NANOS or row.left >= _HOURS * rate:
            continue
        hours = row.left // rate
        lasts = f"runs dry in about {hours} h" if hours else "runs dry within an hour"
        needs.append(
            Need(
                key=f"dry:{row.id}",
                severity="warning",
                subject=row.name,
                words=f"{lasts}: {money(row.left)} at {money(rate)} an hour",
                steps=(
                    Step("Grant credit", f"/admin/organizations/{row.id}/grant"),
                    Step("Open organization", f"/admin/organizations/{row.id}"),
                ),
            )
        )
    return needs[:NEEDS_MAX]
