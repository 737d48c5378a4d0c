"""What needs an operator about the service: live models without a ready worker."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import NEEDS_MAX, Need, Step
from gateway.storage.tables import incidents


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
            steps=(Step("Open workers", "/admin/workers"),),
        )
        for row in found
    ]
