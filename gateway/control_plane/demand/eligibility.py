"""Which models can be voted and waited for: those that are coming, by the database's own word.

The catalogue that pages show is up to seconds old. Who joins reads the state in the same
transaction and holds it: a launch waits for them, and then they are among those who are told; or
they wait for the launch, and are told at once that there is nothing to wait for.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import BadRequest
from gateway.storage.tables import models


class NotComing(BadRequest):
    """A model that is live by now, or gone."""

    status = 409
    code = "not_coming"


async def hold(connection: AsyncConnection, model_id: str) -> None:
    """Keep a model from going live until the transaction ends. Raises NotComing."""
    state = await connection.scalar(
        select(models.c.state).where(models.c.id == model_id).with_for_update(read=True)
    )
    if state == "live":
        raise NotComing(
            f"{model_id} is live by now: you can call it, there is nothing to wait for."
        )
    if state != "coming_soon":
        raise NotComing(f"{model_id} is not coming.")
