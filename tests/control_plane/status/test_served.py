"""Tokens of the week: told for models that many use, and for no other."""

from datetime import timedelta

import pytest
from sqlalchemy import insert

from gateway import wall
from gateway.control_plane.status import served
from gateway.control_plane.status.served import Served
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import usage_days


async def used(database: Database, model_id: str, organizations: int, *, days_ago: int = 0) -> None:
    async with database.write() as connection:
        for _ in range(organizations):
            row = {
                "organization_id": new_id(), "day": wall.now().date() - timedelta(days=days_ago),
                "key_id": new_id(), "model_id": model_id, "shard": 0, "requests": 1, "inputs": 1,
                "tokens": 100, "charged_nanos": 1,
            }  # fmt: skip
            await connection.execute(insert(usage_days).values(row))


@pytest.mark.usefixtures("now")
async def test_tokens_of_few_organizations_are_not_told(database: Database):
    week = Served(database)
    least = served.ORGANIZATIONS_MIN
    await used(database, "busy", least)
    await used(database, "busy", 1, days_ago=6)
    await used(database, "busy", 9, days_ago=7)  # before this week
    await used(database, "lonely", least - 1)
    await week.refresh()
    assert week.tokens("busy") == 100 * (least + 1)
    assert week.tokens("lonely") is None
    assert week.tokens("never") is None
