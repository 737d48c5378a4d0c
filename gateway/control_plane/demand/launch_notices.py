"""Launches for webhooks: `model.launched` to each endpoint that was subscribed when it happened.

Launch mails go to those who asked for the model; this tells programs. After a crash, the walk over
organizations resumes where it was, and a launch ends once all of them were notified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy import Row, select

from gateway import wall
from gateway.control_plane.alerts import walks
from gateway.control_plane.alerts.notices import Notice, publish
from gateway.storage.database import Database
from gateway.storage.tables import (
    launches,
    model_prices,
    webhook_endpoints,
    webhook_subscriptions,
)

BATCH = 200
TURN_SECONDS = 30.0
"""How long one run goes on; the next continues."""

_TYPE = "model.launched"
_NEWS = timedelta(days=30)
"""How long after a launch it may still be told."""


class LaunchNotices:
    """Tells endpoints of launches; `tell` is a job."""

    def __init__(self, database: Database, *, is_live: Callable[[str], bool]) -> None:
        self._database = database
        self._is_live = is_live

    async def tell(self) -> int:
        """Continue every launch that is not fully told; return how many notices are new."""
        query = (
            select(
                launches.c.model_id,
                launches.c.launched_at,
                model_prices.c.nanos_per_million_tokens.label("price_nanos"),
            )
            .join(model_prices, model_prices.c.id == launches.c.price_id)
            .where(launches.c.launched_at > wall.now() - _NEWS, launches.c.paused_at.is_(None))
            .order_by(launches.c.launched_at)
        )
        async with self._database.read() as connection:
            found = (await connection.execute(query)).all()
        ends, told = monotonic() + TURN_SECONDS, 0
        for launch in found:
            # nobody may be told of a model that this gateway still refuses
            if self._is_live(launch.model_id):
                told += await self._tell(launch, ends)
        return told

    async def _tell(self, launch: Row[*tuple[Any, ...]], ends: float) -> int:
        name = f"launch:{launch.model_id}"
        walk = await walks.claim(self._database, name)
        if walk is None:
            return 0
        data = {"model_id": launch.model_id, "price_nanos": launch.price_nanos}
        notice = Notice("model.launched", f"{_TYPE}:{launch.model_id}", data, launch.launched_at)
        told, after = 0, walk.after
        while monotonic() < ends:
            some = await self._subscribed(launch.launched_at, after)
            for organization_id in some:
                async with self._database.write() as connection:
                    told += await publish(connection, organization_id, notice)
            if len(some) < BATCH:
                await walks.finish(self._database, walk, again_seconds=None)
                return told
            after = some[-1]
            await walks.advance(self._database, name, after)
        await walks.pause(self._database, name)
        return told

    async def _subscribed(self, launched_at: datetime, after: str) -> Sequence[str]:
        query = (
            select(webhook_endpoints.c.organization_id)
            .join(
                webhook_subscriptions, webhook_subscriptions.c.endpoint_id == webhook_endpoints.c.id
            )
            .where(
                webhook_subscriptions.c.type == _TYPE,
                webhook_endpoints.c.created_at <= launched_at,
                webhook_endpoints.c.removed_at.is_(None),
                webhook_endpoints.c.disabled_at.is_(None),
            )
        )
        if after:
            query = query.where(webhook_endpoints.c.organization_id > after)
        query = query.distinct().order_by(webhook_endpoints.c.organization_id).limit(BATCH)
        async with self._database.read() as connection:
            return (await connection.scalars(query)).all()
