"""Prices: from a day on, with notice where someone pays more, and never flex over default."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update

from gateway.control_plane.back_office import price_control
from gateway.control_plane.back_office.price_control import BadPrice, ChangeUnknown
from gateway.control_plane.catalog import catalog, price_changes
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.identifiers import new_id
from gateway.snapshots import Tier
from gateway.storage.database import Database
from gateway.storage.tables import price_changes as changes
from gateway.storage.tables import trail_entries, usage_hours
from tests.control_plane.conftest import MINILM, STELLA
from tests.control_plane.demand.conftest import account

NOTICE = 30


async def set_price(
    database: Database, nanos: int, *, days: int = 0, tier: Tier = "default", model: str = MINILM
) -> str | None:
    at = datetime.now(UTC) + timedelta(days=days) if days else None
    async with database.write() as connection:
        return await price_control.set_price(
            connection, COMMAND_LINE, model, nanos, tier=tier, effective_at=at, notice_days=NOTICE,
            reason="",
        )  # fmt: skip


async def price(database: Database, model: str = MINILM) -> int:
    async with database.read() as connection:
        snapshot = await catalog.snapshot(connection)
    return snapshot.models[model].price.nanos_per_million_tokens


async def uses(
    database: Database, email: str, tokens: int, nanos: int, *, days_ago: int = 1,
    model: str = MINILM,
) -> str:  # fmt: skip
    visitor = await account(database, email)
    async with database.write() as connection:
        await connection.execute(
            insert(usage_hours).values(
                organization_id=visitor.organization_id, key_id=new_id(), model_id=model, shard=0,
                hour=datetime.now(UTC) - timedelta(days=days_ago), requests=1, inputs=1,
                tokens=tokens, charged_nanos=nanos,
            )
        )  # fmt: skip
    return visitor.organization_id


async def test_who_is_affected(database: Database):
    big = await uses(database, "big@example.org", 3_000, 24_000)
    small = await uses(database, "small@example.org", 1_000, 8_000)
    await uses(database, "old@example.org", 1_000, 8_000, days_ago=40)
    for email in ("big@example.org", "else@example.org"):
        await uses(database, email, 1_000, 8_000, model=STELLA)
    async with database.read() as connection:
        found = await price_control.effect(connection, MINILM, "default", 10_000_000)
    assert (found.before_nanos, found.organizations, found.tokens) == (8_000_000, 2, 4_000)
    assert (found.charged_nanos, found.new_nanos) == (32_000, 40_000)
    assert [(row.organization_id, row.new_nanos) for row in found.some] == [
        (big, 30_000), (small, 10_000),
    ]  # fmt: skip


async def test_a_rise_that_someone_pays_needs_notice(database: Database):
    assert await set_price(database, 9_000_000) is None  # nobody uses it
    await uses(database, "ada@example.org", 1, 1)
    with pytest.raises(BadPrice, match="30 days' notice"):
        await set_price(database, 10_000_000)
    with pytest.raises(BadPrice, match="30 days' notice"):
        await set_price(database, 10_000_000, days=29)
    with pytest.raises(BadPrice, match="up to a year"):
        await set_price(database, 10_000_000, days=400)
    change = await set_price(database, 10_000_000, days=31)
    assert change
    assert await set_price(database, 8_000_000) is None  # a lower price applies at once
    assert await price(database) == 8_000_000

    assert await price_changes.apply_due(database) == 0
    async with database.write() as connection:
        await connection.execute(update(changes).values(effective_at=datetime.now(UTC)))
    assert await price_changes.apply_due(database) == 1
    assert await price_changes.apply_due(database) == 0
    assert await price(database) == 10_000_000
    async with database.read() as connection:
        actions = select(trail_entries.c.action).order_by(trail_entries.c.number)
        told = (await connection.scalars(actions)).all()
    assert told == ["price.set", "price.scheduled", "price.set"]


async def test_one_that_is_called_off_never_applies(database: Database):
    change = await set_price(database, 5_000_000, days=1)
    assert change
    async with database.write() as connection:
        await price_control.cancel(connection, COMMAND_LINE, change, reason="why")
        for gone in (change, "nonsense"):
            with pytest.raises(ChangeUnknown):
                await price_control.cancel(connection, COMMAND_LINE, gone, reason="why")
        await connection.execute(update(changes).values(effective_at=datetime.now(UTC)))
    assert await price_changes.apply_due(database) == 0


async def test_flex_never_costs_more_now_or_later(database: Database):
    with pytest.raises(BadPrice, match="Flex"):
        await set_price(database, 9_000_000, tier="flex")
    with pytest.raises(BadPrice, match="Flex"):
        await set_price(database, 3_000_000)
    await set_price(database, 5_000_000, days=5)
    with pytest.raises(BadPrice, match="Flex"):
        await set_price(database, 6_000_000, tier="flex", days=3)  # too much from day 5 on
    with pytest.raises(BadPrice, match="Flex"):
        await set_price(database, 6_000_000, tier="flex", days=9)


async def test_the_files_estimate_does_not_replace_an_operators_price(database: Database):
    await set_price(database, 7_000_000, model=STELLA)
    async with database.write() as connection:
        await catalog.seed(connection)
    assert await price(database, STELLA) == 7_000_000


async def test_a_drop_before_it_hides_no_rise(database: Database):
    """From 8 down to 5, and back to 8: whoever pays 5 by then is told, and in time."""
    await uses(database, "ada@example.org", 1, 1)
    await set_price(database, 5_000_000, days=5)
    with pytest.raises(BadPrice, match="30 days' notice"):
        await set_price(database, 8_000_000, days=20)
    assert await set_price(database, 8_000_000, days=40)
    async with database.read() as connection:
        (rise,) = await price_changes.unannounced(connection)
    assert rise.nanos_per_million_tokens == 8_000_000


async def test_nothing_makes_a_rise_of_what_was_told_as_none(database: Database):
    await uses(database, "ada@example.org", 1, 1)
    up = await set_price(database, 12_000_000, days=35)
    assert up
    await set_price(database, 10_000_000, days=60)  # down from 12
    with pytest.raises(BadPrice, match=r"\$0.01 from .* would then be an increase"):
        async with database.write() as connection:
            await price_control.cancel(connection, COMMAND_LINE, up, reason="why")
    with pytest.raises(BadPrice, match="would then be an increase"):
        await set_price(database, 9_000_000, days=50)
    await set_price(database, 11_000_000, days=50)
