"""The service's sums by the hour are those of all organizations, however often they are made."""

from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update

from gateway.control_plane.status import traffic
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import (
    answer_hours,
    organizations,
    traffic_hours,
    usage_hours,
)


async def use(
    database: Database, organization_id: str, hour: datetime, tokens: int, model: str = "m"
) -> None:
    async with database.write() as connection:
        await connection.execute(
            insert(usage_hours).values(
                organization_id=organization_id,
                hour=hour,
                key_id=new_id(),
                model_id=model,
                shard=0,
                requests=1,
                inputs=2,
                tokens=tokens,
                charged_nanos=tokens * 10,
            )
        )


async def answer(database: Database, hour: datetime, status: int, count: int) -> None:
    async with database.write() as connection:
        await connection.execute(
            insert(answer_hours).values(
                organization_id=new_id(),
                hour=hour,
                status_class=status,
                latency_ms=50,
                answers=count,
            )
        )


async def test_sums_over_organizations(database: Database, hour: datetime):
    first, second = new_id(), new_id()
    await use(database, first, hour - timedelta(hours=30), 100)
    await use(database, first, hour, 1)
    await use(database, second, hour, 2)
    await use(database, second, hour, 4, "n")
    await answer(database, hour, 2, 5)
    await answer(database, hour, 2, 6)
    await answer(database, hour, 5, 7)
    for _ in "twice":
        await traffic.sum_up(database)
    async with database.read() as connection:
        old, now = await traffic.hours(connection, hour - timedelta(days=2))
        assert (old.tokens, now.tokens, now.requests, now.charged_nanos) == (100, 7, 3, 70)
        models = await traffic.models(connection, hour, 9)
        assert [(one.model_id, one.tokens) for one in models] == [("n", 4), ("m", 3)]
        answered = await traffic.answered(connection, hour)
        assert {one.status_class: one.answers for one in answered} == {2: 11, 5: 7}


async def test_what_comes_late_is_added_while_its_hour_is_repeated(
    database: Database, hour: datetime
):
    await use(database, new_id(), hour, 1)
    await traffic.sum_up(database)
    await use(database, new_id(), hour - traffic.REPEATED, 10)
    await use(database, new_id(), hour - traffic.REPEATED - timedelta(hours=1), 100)
    await traffic.sum_up(database)
    async with database.read() as connection:
        hours = await traffic.hours(connection, hour - timedelta(days=1))
    assert [hour.tokens for hour in hours] == [10, 1]


async def test_the_organizations_that_spent_most(database: Database, monkeypatch, hour: datetime):
    monkeypatch.setattr(traffic, "LEADERS", 2)
    named = {}
    for tokens in (5, 50, 500):
        named[tokens] = new_id()
        async with database.write() as connection:
            await connection.execute(
                insert(organizations).values(
                    id=named[tokens], name=f"spent {tokens}", created_at=hour
                )
            )
        await use(database, named[tokens], hour, tokens)
    for _ in "twice":
        await traffic.rank(database)
    async with database.read() as connection:
        leaders = await traffic.leaders(connection, hour.date())
    assert [(one.name, one.tokens) for one in leaders] == [("spent 500", 500), ("spent 50", 50)]


async def test_old_sums_are_forgotten(database: Database, hour: datetime):
    await use(database, new_id(), hour, 1)
    await traffic.sum_up(database)
    old = hour - traffic.KEPT - timedelta(hours=1)
    async with database.write() as connection:
        await connection.execute(update(traffic_hours).values(hour=old))
        await traffic.forget_old(connection)
        assert (await connection.execute(select(traffic_hours))).all() == []
        await connection.execute(delete(usage_hours))
