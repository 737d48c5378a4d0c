"""Incidents: one for each outage, however many processes see it."""

import asyncio
from datetime import UTC, datetime

from gateway.app import Gateway
from gateway.control_plane.status.incidents import Incidents
from gateway.data_plane.routing.router import WorkerStatus
from gateway.storage.database import Database
from tests.pages.conftest import MINILM, STELLA

STATUS = WorkerStatus(MINILM, ready=True)


async def test_an_outage_is_written_once_and_ends(gateway: Gateway):
    database: Database = gateway.database
    seen: list[WorkerStatus] = []
    watchers = [
        Incidents(database, workers=lambda: seen, catalog=gateway.catalog) for _ in range(2)
    ]

    async def look() -> list[datetime | None]:
        await asyncio.gather(*(watcher.watch() for watcher in watchers))
        return [incident.ended_at for incident in await watchers[0].recent(1)]

    down = STATUS._replace(ready=False)
    seen[:] = [STATUS, down]
    assert await look() == []  # one ready worker is enough
    seen[:] = [down, down._replace(model=STELLA)]
    assert await look() == [None]  # and Stella is not live, so nobody misses it
    assert await look() == [None]
    seen[:] = [STATUS]
    (ended,) = await look()
    assert ended is not None
    assert ended <= datetime.now(UTC)
