"""What the console's tests share: its pages, and usage without calls."""

import re
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select

from gateway.app.process import Process
from gateway.storage.tables import (
    api_keys,
    usage_hours,
)
from tests.control_plane.conftest import MINILM, rows

PAGES = [
    "/console", "/console/usage", "/console/keys", "/console/ledger", "/console/votes",
    "/console/settings",
]  # fmt: skip
SECRET = re.compile(r"sk-[0-9A-Za-z]{46}")


async def use(gateway: Process, tokens: int, *, days_ago: int = 0, model: str = MINILM) -> None:
    """Write an hourly sum of usage, as the ledger does."""
    (key, *_) = await rows(gateway, select(api_keys))
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    taken = await rows(gateway, select(usage_hours.c.shard).order_by(usage_hours.c.shard.desc()))
    async with gateway.core.database.write() as connection:
        await connection.execute(
            insert(usage_hours).values(
                organization_id=key.organization_id, key_id=key.id, model_id=model, hour=hour,
                shard=taken[0].shard + 1 if taken else 0,
                requests=1, inputs=1, tokens=tokens, charged_nanos=8 * tokens,
            )
        )  # fmt: skip
