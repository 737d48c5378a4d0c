"""Launches: a model goes live, at prices that hold from that moment.

One short transaction: the price of each tier, the state and the launch itself; gateways see the new
state within seconds. Whoever asked for the model hears of it afterwards: see `announcements`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.catalog import models as catalog
from gateway.errors import BadRequest, NotFound
from gateway.storage.tables import launches, model_prices, models


class ModelUnknown(NotFound):
    """No such model in the catalogue."""

    code = "model_not_found"


class CannotLaunch(BadRequest):
    """A model that is not ready to go live, or is live already."""

    code = "cannot_launch"


async def launch(
    connection: AsyncConnection, model_id: str, *, ready: bool, nanos_per_million_tokens: int
) -> None:
    """Make a model live at a price. Raises ModelUnknown or CannotLaunch."""
    state = await connection.scalar(
        select(models.c.state).where(models.c.id == model_id).with_for_update()
    )
    if state is None:
        raise ModelUnknown(f"The catalogue has no model {model_id!r}.")
    if state != "coming_soon":
        raise CannotLaunch(f"{model_id} is {state} already.")
    if not ready:
        raise CannotLaunch(f"{model_id} has no ready worker: see `gateway workers list`.")
    await catalog.set_price(connection, model_id, nanos_per_million_tokens)
    price_id = await connection.scalar(
        select(model_prices.c.id)
        .where(model_prices.c.model_id == model_id, model_prices.c.tier == "default")
        .order_by(model_prices.c.id.desc())
        .limit(1)
    )
    await connection.execute(update(models).where(models.c.id == model_id).values(state="live"))
    await connection.execute(
        insert(launches).values(model_id=model_id, price_id=price_id, launched_at=datetime.now(UTC))
    )
