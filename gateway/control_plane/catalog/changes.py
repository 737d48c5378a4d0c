"""Changes of the catalogue, one at a time.

Each takes a model's row and then the row of versions. Two that touch several models in different
orders, a deployment's seed and a launch, would end up waiting for each other.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import alone


async def begin(connection: AsyncConnection) -> None:
    """Wait until nobody else changes the catalogue; ours is done when the transaction ends."""
    await alone(connection, "the catalogue")
