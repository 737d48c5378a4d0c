"""What needs an operator about customers' webhooks: endpoints that take nothing for long."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import NEEDS_MAX, Need, Step, tells
from gateway.storage.tables import organizations, webhook_endpoints

_LONG = timedelta(hours=6)
"""An endpoint that takes nothing for this long is told of."""


@tells(f"A webhook has accepted nothing for {_LONG // timedelta(hours=1)} hours.")
async def failing(connection: AsyncConnection, now: datetime) -> list[Need]:
    """Tell of organizations whose webhooks keep failing, before their deliveries are given up."""
    since = func.min(webhook_endpoints.c.failing_since)
    found = await connection.execute(
        select(
            webhook_endpoints.c.organization_id,
            organizations.c.name,
            func.count().label("endpoints"),
            since.label("since"),
        )
        .join(organizations, organizations.c.id == webhook_endpoints.c.organization_id)
        .where(
            webhook_endpoints.c.failing_since.is_not(None),
            webhook_endpoints.c.failing_since < now - _LONG,
            webhook_endpoints.c.disabled_at.is_(None),
            webhook_endpoints.c.removed_at.is_(None),
        )
        .group_by(webhook_endpoints.c.organization_id, organizations.c.name)
        .order_by(since)
        .limit(NEEDS_MAX)
    )
    return [
        Need(
            key=f"webhooks:{row.organization_id}",
            severity="notice",
            subject=row.name,
            words=f"{row.endpoints:,} webhook{'s' * (row.endpoints > 1)} accepting nothing",
            since=datetime.fromisoformat(row.since) if isinstance(row.since, str) else row.since,
            steps=(Step("Open organization", f"/admin/organizations/{row.organization_id}"),),
        )
        for row in found
    ]
