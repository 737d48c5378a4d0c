"""What a tick writes beside the charges, and what it opens to do so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import func, select, text, update

from gateway.data_plane.metering.leases import budget_id
from gateway.data_plane.metering.messages import (
    LeaseLine,
    LedgerRefused,
    RootLine,
    Tick,
)
from gateway.data_plane.metering.receipts import FIRST, ReceiptSigner
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger import budgets, partitions
from gateway.storage.ledger.postgres import PostgresLedger
from gateway.storage.tables import accounts, leases, receipt_keys, receipt_roots
from testing.ledger import add_customer, assert_sound, ledger_of
from tests.data_plane.metering.test_receipts import line

SIGNER = ReceiptSigner("a secret for tests, long enough to pass")


def tick(*, number: int = 1, root: RootLine | None = None, **more: list) -> Tick:
    empty: dict[str, list] = {"lease_ids": [], "usage": [], "answered": [], "leases": []}
    return Tick(
        replica_id=new_id(), number=number, lease_seconds=90.0, shard=3, root=root, **(empty | more)
    )


async def test_a_root_is_written_once_however_often_it_is_sent(database: Database):
    first = SIGNER.begin([line(), line()], previous=FIRST)
    second = SIGNER.begin([line()], previous=first.digest)
    ledger = ledger_of(database)
    for root in (first.root, first.root, second.root, first.root, None):
        await ledger.tick(tick(root=root))
    await ledger.close()
    async with database.read() as connection:
        roots = (await connection.execute(select(receipt_roots))).mappings().all()
        keys = (await connection.execute(select(receipt_keys.c.id, receipt_keys.c.public))).all()
    sent = [msgspec.structs.asdict(batch.root) for batch in (first, second)]
    for root in sent:
        del root["key"]
    assert sorted(map(dict, roots), key=lambda root: root["id"]) == sorted(
        sent, key=lambda root: root["id"]
    )
    assert [tuple(key) for key in keys] == [(SIGNER.key_id, SIGNER.public)]


async def test_old_roots_go_with_their_usage(database: Database):
    await partitions.maintain(database, retention_days=32)
    new = SIGNER.begin([line()], previous=FIRST).root
    old = msgspec.structs.replace(new, id=f"0190c2a1{new.id[8:]}")  # of July 2024
    ledger = ledger_of(database)
    for root in (old, new):
        await ledger.tick(tick(root=root))
    await ledger.close()

    async def left() -> list[str]:
        query = select(receipt_roots.c.id).order_by(receipt_roots.c.id)
        async with database.read() as connection:
            return list((await connection.scalars(query)).all())

    await partitions.maintain(database, retention_days=32)
    assert await left() == [new.id]


async def leased(ledger, customer, replica_id: str, *when: datetime) -> LeaseLine:
    """Open a lease of ten tokens for a process, and return what it asked."""
    asked = LeaseLine(
        id=new_id(), account_id=customer.organization_id, action="ask", least_nanos=80,
        target_nanos=80,
    )  # fmt: skip
    sent = msgspec.structs.replace(
        tick(leases=[asked], lease_ids=[asked.id]), replica_id=replica_id
    )
    await ledger.tick(sent, *when)
    return asked


async def test_of_two_lines_about_one_lease_a_tick_applies_the_first(database: Database):
    customer = await add_customer(database, 100)
    ledger, replica_id = ledger_of(database), new_id()
    asked = await leased(ledger, customer, replica_id)
    more = msgspec.structs.replace(asked, least_nanos=160, target_nanos=160)
    most = msgspec.structs.replace(asked, least_nanos=800, target_nanos=800)
    twice = msgspec.structs.replace(
        tick(number=2, leases=[more, most], lease_ids=[asked.id]), replica_id=replica_id
    )
    answer = await ledger.tick(twice)
    await ledger.close()
    assert [(told.id, told.granted_nanos) for told in answer.leases] == [(asked.id, 160)]


async def test_for_a_second_after_a_recall_a_lease_gets_no_more_than_it_needs(database: Database):
    """Or what the others return for the one who waits would go to who asks ahead."""
    customer = await add_customer(database, 100)
    ledger, recalled_at = ledger_of(database), datetime.now(UTC)
    async with database.write() as connection:
        await connection.execute(update(accounts).values(recalled_at=recalled_at))
    granted = []
    for seconds in (0.9, 1.1):
        asked = LeaseLine(
            id=new_id(), account_id=customer.organization_id, action="ask", least_nanos=8,
            target_nanos=80,
        )  # fmt: skip
        at = recalled_at + timedelta(seconds=seconds)
        (told,) = (await ledger.tick(tick(leases=[asked], lease_ids=[asked.id]), at)).leases
        granted.append(told.granted_nanos)
    await ledger.close()
    assert granted == [8, 80]


async def test_what_others_hold_counts_until_they_were_asked_for_it(database: Database):
    customer = await add_customer(database, 100)
    ledger, now = ledger_of(database), datetime.now(UTC)

    async def unreached(seconds: float, waited_seconds: float) -> int:
        asked = LeaseLine(
            id=new_id(), account_id=customer.organization_id, action="ask", least_nanos=8_000,
            target_nanos=8_000, waited_seconds=waited_seconds,
        )  # fmt: skip
        at = now + timedelta(seconds=seconds)
        (told,) = (await ledger.tick(tick(leases=[asked], lease_ids=[asked.id]), at)).leases
        assert told.denied
        return told.unreached_nanos

    found = [await unreached(0, 0)]
    await leased(ledger, customer, new_id(), now)
    found += [await unreached(0, 0), await unreached(1, 2), await unreached(3, 2)]
    await ledger.close()
    # nobody holds any; nobody was asked; what was to return since it was asked for has; it has not
    assert found == [0, 80, 0, 80]


async def test_who_replays_the_usage_of_another_does_not_renew_its_lease(database: Database):
    """Or the credit of a dead process would come back later with each replay."""
    customer = await add_customer(database, 100)
    ledger = ledger_of(database)
    asked = await leased(ledger, customer, new_id())

    async def expiry() -> datetime:
        async with database.read() as connection:
            return await connection.scalar(
                select(leases.c.expires_at).where(leases.c.id == asked.id)
            )

    before = await expiry()
    usage = msgspec.structs.replace(
        line(), organization_id=customer.organization_id, lease_id=asked.id, cost_nanos=8
    )
    replayed = tick(
        usage=[msgspec.Raw(msgspec.json.encode(usage))], lease_ids=[asked.id],
        answered=[usage.request_id],
    )  # fmt: skip
    await ledger.tick(msgspec.structs.replace(replayed, lease_seconds=9_000.0))
    await ledger.close()
    assert await expiry() == before


@pytest.fixture
async def postgresql(postgresql_database_url: list[str]) -> AsyncIterator[Database]:
    opened = Database(postgresql_database_url[0])
    yield opened
    await opened.close()


async def test_a_tick_that_is_canceled_says_so_and_the_next_has_a_connection(
    postgresql: Database,
):
    customer = await add_customer(postgresql, 100)
    ledger = ledger_of(postgresql)
    waits = text(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE NOT granted AND datname = current_database()"
    )
    async with postgresql.write() as connection:
        await connection.execute(update(accounts).values(owed_nanos=0))  # and holds its row
        waiting = asyncio.create_task(leased(ledger, customer, new_id()))
        async with asyncio.timeout(20), postgresql.read() as other:
            while not await other.scalar(waits):
                await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await leased(ledger, customer, new_id())
    await ledger.close()


async def test_who_refuses_keeps_the_connection(postgresql: Database):
    customer = await add_customer(postgresql, 100)
    ledger = ledger_of(postgresql)
    assert isinstance(ledger, PostgresLedger)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(ledger.close)
        asked = await leased(ledger, customer, new_id())
        before = ledger._own._connection
        too_much = msgspec.structs.replace(asked, id=new_id(), least_nanos=2**70)
        with pytest.raises(LedgerRefused):
            await ledger.tick(tick(leases=[too_much], lease_ids=[too_much.id]))
        assert ledger._own._connection is before


async def test_a_tick_opens_the_partition_that_it_writes_to_alone(postgresql: Database):
    """Their number grows with the days that usage is kept, and must not slow a tick down."""
    database = postgresql
    customer = await add_customer(database, 100)
    await partitions.maintain(database, retention_days=32)
    lease = LeaseLine(
        id=new_id(), account_id=customer.organization_id, action="ask", least_nanos=80,
        target_nanos=80,
    )  # fmt: skip
    usage = msgspec.structs.replace(
        line(), organization_id=customer.organization_id, lease_id=lease.id, cost_nanos=8
    )
    asks = tick(leases=[lease], lease_ids=[lease.id])
    uses = tick(number=2, usage=[msgspec.Raw(msgspec.json.encode(usage))], lease_ids=[lease.id])
    call = text("SELECT ledger_tick(CAST(:tick AS jsonb), clock_timestamp())")
    async with database.write() as connection:
        await connection.execute(call, {"tick": msgspec.json.encode(asks).decode()})
    async with database.write() as connection:
        await connection.execute(call, {"tick": msgspec.json.encode(uses).decode()})
        opened = await connection.scalars(
            text(
                "SELECT relation::regclass::text FROM pg_locks JOIN pg_class ON oid = relation "
                "WHERE pid = pg_backend_pid() AND relkind = 'r' "
                "AND relname LIKE 'usage\\_events\\_%'"
            )
        )
        assert len(opened.all()) == 1
        assert await connection.scalar(select(func.count()).select_from(text("usage_events"))) == 1


@pytest.mark.sqlite
async def test_a_tick_takes_its_turn_among_the_tasks_that_write(database: Database):
    """SQLite's own lock lets others poll, in no order: a tick could starve behind them."""
    ledger = ledger_of(database)
    async with database.turn():
        waiting = asyncio.create_task(ledger.tick(tick()))
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()
    await waiting
    await ledger.close()


@pytest.mark.parametrize("closed", ["account", "budget"])
async def test_usage_counts_on_the_lease_that_is_still_open(database: Database, closed: str):
    """Of the two that pay for a request, the account's and its key's budget's, one is gone."""
    customer = await add_customer(database, 100)
    async with database.write() as connection:
        await budgets.set_budget(connection, customer.key_id, 800, "total")
    ledger, replica_id = ledger_of(database), new_id()
    asked = {
        "account": LeaseLine(
            id=new_id(), account_id=customer.organization_id, action="ask", least_nanos=80,
            target_nanos=80,
        ),
        "budget": LeaseLine(
            id=new_id(), account_id=budget_id(customer.key_id, "total"), action="ask",
            least_nanos=80, target_nanos=80, key_id=customer.key_id, period="total",
        ),
    }  # fmt: skip
    used = msgspec.structs.replace(
        line(), organization_id=customer.organization_id, key_id=customer.key_id,
        model_id=customer.model_id, price_id=customer.price_id, lease_id=asked["account"].id,
        budget_id=asked["budget"].account_id, budget_lease_id=asked["budget"].id,
    )  # fmt: skip
    close = msgspec.structs.replace(asked[closed], action="close")
    ids = [one.id for one in asked.values()]
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(ledger.close)
        for number, more in enumerate(
            (
                {"leases": list(asked.values()), "lease_ids": ids},
                {"leases": [close], "lease_ids": [close.id]},
                {"usage": [msgspec.Raw(msgspec.json.encode(used))], "lease_ids": ids},
            ),
            start=1,
        ):
            sent = msgspec.structs.replace(tick(number=number, **more), replica_id=replica_id)
            await ledger.tick(sent)
    async with database.read() as connection:
        spent = (await connection.execute(select(leases.c.id, leases.c.spent_nanos))).all()
    assert dict(spent) == {one.id: 0 if one.id == close.id else 8 for one in asked.values()}
    await assert_sound(database)
