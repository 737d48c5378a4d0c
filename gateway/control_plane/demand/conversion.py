"""What became of a launch: of those who were told, who came, and who paid.

Who was told is written down with the mails, and what came of it is read from sums and a ledger
that are never rewritten; so a vote that is withdrawn afterwards changes nothing here.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.ledger import paid
from gateway.storage.tables import launch_organizations, launches, total, usage_hours

_DAYS = 30


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """The funnel from the launch on, over its first 30 days."""

    recipients: int
    organizations_told: int
    organizations_calling: int
    organizations_paying: int
    """Those who called the model and burnt credit that they had bought."""
    tokens_30_days: int
    credit: dict[str, int]
    """How many organizations got the launch credit, and why others did not."""


async def of_launch(connection: AsyncConnection, model_id: str) -> Conversion | None:
    """Return what became of a launch; None before there was one."""
    launch = (
        await connection.execute(select(launches).where(launches.c.model_id == model_id))
    ).one_or_none()
    if launch is None:
        return None
    told = select(launch_organizations.c.organization_id).where(
        launch_organizations.c.model_id == model_id, launch_organizations.c.told_at.is_not(None)
    )
    until = launch.launched_at + timedelta(days=_DAYS)
    used = await connection.execute(
        select(usage_hours.c.organization_id, total(usage_hours.c.tokens))
        .where(
            usage_hours.c.model_id == model_id,
            usage_hours.c.organization_id.in_(told),
            usage_hours.c.hour > launch.launched_at - timedelta(hours=1),
            usage_hours.c.hour < until,
        )
        .group_by(usage_hours.c.organization_id)
    )
    tokens = {row[0]: row[1] for row in used}
    paying = await paid.spenders(connection, told, since=launch.launched_at, until=until)
    reasons = await connection.execute(
        select(launch_organizations.c.credit, func.count())
        .where(launch_organizations.c.model_id == model_id)
        .group_by(launch_organizations.c.credit)
    )
    return Conversion(
        recipients=launch.recipients or 0,
        organizations_told=len((await connection.scalars(told)).all()),
        organizations_calling=len(tokens),
        organizations_paying=len(paying & tokens.keys()),
        tokens_30_days=sum(tokens.values()),
        credit={row[0]: row[1] for row in reasons},
    )
