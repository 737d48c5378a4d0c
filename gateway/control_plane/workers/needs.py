"""What needs an operator about workers: those in quarantine, with the reason."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.attention.needs import NEEDS_MAX, Need, Step, tells
from gateway.control_plane.workers import commands
from gateway.snapshots import WorkerState


@tells("A gateway does not trust a worker.")
async def quarantined(connection: AsyncConnection, _now: datetime) -> list[Need]:
    """Tell of workers that a gateway does not trust, and how many gateways think so."""
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    gateways: dict[tuple[str, str], int] = defaultdict(int)
    for report in await commands.reports(connection):
        place = (report.model, report.worker.url)
        gateways[place] += 1
        if report.worker.state is WorkerState.QUARANTINED:
            seen[place].append(report.worker.reason)
    return [
        Need(
            key=f"worker:{model}:{url}",
            severity="warning",
            subject=model,
            words=f"{url} is in quarantine at {len(reasons)} of {gateways[model, url]} gateways: "
            f"{reasons[0]}",
            steps=(Step("Open workers", "/admin/workers"),),
        )
        for (model, url), reasons in sorted(seen.items())[:NEEDS_MAX]
    ]
