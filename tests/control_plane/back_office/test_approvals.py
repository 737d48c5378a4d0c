"""What an operator may move alone: their own, today, and no more."""

from datetime import UTC, datetime, time, timedelta

import pytest
from sqlalchemy import insert

from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.back_office import approvals
from gateway.control_plane.back_office.orders import UndoOrder, encode
from gateway.control_plane.operators.operators import Operator
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.database import Database
from gateway.storage.ledger.postings import database_now


@pytest.mark.usefixtures("now")
async def test_only_what_one_moved_alone_today_counts(database: Database):
    async with database.write() as connection:
        now = await database_now(connection)
        midnight = datetime.combine(now.date(), time(), UTC)
        operators = {}
        for name in ("eve", "ada"):
            user = await users.find_or_create(connection, Address(f"{name}@example.com"))
            operators[name] = Operator(user_id=user.id, email="", role="owner")

        async def moved(name: str, nanos: int, at: datetime = now, **more: object) -> None:
            chosen = {"state": "done", **more}
            await connection.execute(
                insert(tables.money_orders).values(
                    id=new_id(), organization_id=user.organization_id, details="{}", reason="",
                    operator_id=operators[name].user_id, amount_nanos=nanos, created_at=at,
                    problem="", **chosen,
                )
            )  # fmt: skip

        await moved("eve", 1)
        await moved("eve", 2, midnight)
        await moved("eve", 4, midnight - timedelta(seconds=1))
        await moved("eve", 8, decided_by=operators["ada"].user_id, decided_at=now)
        await moved("eve", 16, state="waiting")
        await moved("ada", 32)
        assert await approvals.moved_today(connection, operators["eve"]) == 3
        assert await approvals.moved_today(connection, operators["ada"]) == 32


@pytest.mark.sqlite
@pytest.mark.usefixtures("now")
async def test_what_passes_the_limit_of_a_day_waits(database: Database):
    rules = approvals.Rules(alone_nanos=10, day_nanos=15)
    nobody = Operator(user_id=None, email="", role="owner")
    async with database.write() as connection:
        user = await users.find_or_create(connection, Address("eve@example.com"))
        eve = Operator(user_id=user.id, email="", role="owner")
        assert not await approvals.must_wait(connection, eve, 10, rules)
        assert await approvals.must_wait(connection, eve, 11, rules)
        assert not await approvals.must_wait(connection, nobody, 11, rules)
        await connection.execute(
            insert(tables.money_orders).values(
                id=new_id(), organization_id=user.organization_id, details="{}", reason="",
                operator_id=user.id, amount_nanos=6, state="done", problem="",
                created_at=await database_now(connection),
            )
        )  # fmt: skip
        assert not await approvals.must_wait(connection, eve, 9, rules)
        assert await approvals.must_wait(connection, eve, 10, rules)


async def test_what_waits_longest_is_listed_first(database: Database):
    ids = [new_id() for _ in range(3)]
    async with database.write() as connection:
        user = await users.find_or_create(connection, Address("eve@example.com"))
        now = await database_now(connection)
        details = encode(UndoOrder(organization_id=user.organization_id, entry_id=1))
        for order_id in (ids[2], ids[0], ids[1]):
            await connection.execute(
                insert(tables.money_orders).values(
                    id=order_id, organization_id=user.organization_id, details=details, reason="",
                    operator_id=user.id, amount_nanos=6, state="waiting", problem="",
                    created_at=now, due_at=now + timedelta(hours=1),
                )
            )  # fmt: skip
        assert [one.id for one in await approvals.waiting(connection)] == ids
