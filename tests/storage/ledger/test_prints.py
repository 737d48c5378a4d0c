"""Equal requests are free once one was charged, in every process."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import func, insert, select

from gateway.data_plane.metering import proofs
from gateway.data_plane.metering.messages import Tick, UndeliveredLine, UsageLine
from gateway.data_plane.metering.port import AlreadyCharged, Charge, InsufficientCredit
from gateway.data_plane.metering.receipts import ReceiptSigner
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger import prints
from gateway.storage.tables import accounts, paid_prints, usage_events
from testing.ledger import Customer, add_customer, assert_sound, ledger_of, running

SIGNER = ReceiptSigner("a secret for tests, long enough to pass")
NOW = datetime.now(UTC)


def named(customer: Customer, name: str = "a", *, seconds: float = 60) -> Charge:
    """A request with an Idempotency-Key."""
    return replace(customer.charge(2), print=name, print_seconds=seconds)


def plain(customer: Customer, body: str = "b") -> Charge:
    return replace(customer.charge(2), print=body)


async def spend(engine, charge: Charge) -> str | None:
    await engine.reserve(charge)
    return await engine.settle(charge)


async def charged(database: Database) -> list[int]:
    query = select(usage_events.c.charged_nanos).order_by(usage_events.c.request_id)
    async with database.read() as connection:
        return list((await connection.scalars(query)).all())


async def available(database: Database, customer: Customer) -> int:
    query = select(accounts.c.available_nanos).where(accounts.c.id == customer.organization_id)
    async with database.read() as connection:
        return await connection.scalar(query)


async def kept(database: Database) -> int:
    async with database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(paid_prints))


async def test_an_idempotency_key_is_charged_once_over_processes(database: Database, tmp_path):
    customer = await add_customer(database, 100)
    first = named(customer)
    async with (
        running(database, tmp_path) as one,
        running(database, tmp_path, receipts=SIGNER) as two,
    ):
        await spend(one, first)
        with pytest.raises(AlreadyCharged) as free:
            await spend(two, named(customer))
        assert free.value.original_id == first.request_id
        assert (one.book.free, two.book.free) == (0, 1)
        receipt = proofs.verify(free.value.receipt, [SIGNER.public]).receipt
        assert (receipt.cost_nanos, receipt.tokens) == ("0", 2)
        await spend(two, named(customer, "another"))
        await spend(two, plain(customer))
        await spend(two, plain(customer))  # equal, and no retry of anything
        await assert_sound(database)
    assert await charged(database) == [16, 0, 16, 16, 16]
    assert await available(database, customer) == 800 - 64
    await assert_sound(database)


async def test_of_two_at_once_one_is_charged(database: Database, tmp_path):
    customer = await add_customer(database, 100)
    async with running(database, tmp_path) as one, running(database, tmp_path) as two:
        results = await asyncio.gather(
            *(spend(engine, named(customer)) for engine in (one, two, one, two)),
            return_exceptions=True,
        )
    assert [type(result) for result in results].count(AlreadyCharged) == 3
    assert sorted(await charged(database)) == [0, 0, 0, 16]
    assert await available(database, customer) == 800 - 16
    await assert_sound(database)


async def test_one_equal_request_is_free_for_an_answer_that_nobody_got(
    database: Database, tmp_path
):
    customer = await add_customer(database, 100)
    lost, retry = plain(customer), plain(customer)
    async with running(database, tmp_path) as one, running(database, tmp_path) as two:
        await spend(one, lost)
        one.undelivered(lost, 60)
        await spend(one, plain(customer, "other"))  # a tick after it
        with pytest.raises(AlreadyCharged) as free:
            await spend(two, retry)
        assert free.value.original_id == lost.request_id
        await spend(one, plain(customer))
        two.undelivered(retry, 60)  # the free one was lost too
        await spend(two, plain(customer, "other"))
        with pytest.raises(AlreadyCharged):
            await spend(one, plain(customer))
    assert await charged(database) == [16, 0, 16, 16, 16, 0] or sorted(await charged(database)) == [
        0,
        0,
        16,
        16,
        16,
        16,
    ]
    await assert_sound(database)


async def test_credit_that_was_reserved_for_a_free_request_can_be_used(
    database: Database, tmp_path
):
    customer = await add_customer(database, 4)
    async with running(database, tmp_path) as engine:
        await spend(engine, named(customer))
        for _ in range(3):
            with pytest.raises(AlreadyCharged):
                await spend(engine, named(customer))
        await spend(engine, plain(customer))
        with pytest.raises(InsufficientCredit):
            await engine.reserve(named(customer))
    assert await available(database, customer) == 0
    await assert_sound(database)


def line(charge: Charge, lease_id: str) -> UsageLine:
    return UsageLine(
        lease_id=lease_id, budget_id=None, budget_lease_id=None,
        created_ms=int(NOW.timestamp() * 1000),
        **{
            name: value for name, value in msgspec.structs.asdict(charge).items()
            if name not in {"budget", "trace"}
        },
    )  # fmt: skip


def tick(*charges: Charge, undelivered: list[UndeliveredLine] | None = None) -> Tick:
    """A tick of which no lease is open: accounts pay."""
    return Tick(
        replica_id=new_id(), number=1, lease_seconds=60, shard=0, lease_ids=[], answered=[],
        leases=[], undelivered=undelivered or [], claims=any(one.print_seconds for one in charges),
        usage=[msgspec.Raw(msgspec.json.encode(line(one, new_id()))) for one in charges],
    )  # fmt: skip


async def test_a_print_ends_by_the_clock_of_the_database(database: Database):
    customer = await add_customer(database, 100)
    ledger = ledger_of(database)
    first, second, third, fourth = (named(customer) for _ in range(4))
    await ledger.tick(tick(first), NOW)
    told = await ledger.tick(tick(second), NOW + timedelta(seconds=59))
    assert told.free == {second.request_id: first.request_id}
    assert (await ledger.tick(tick(third), NOW + timedelta(seconds=60))).free == {}
    told = await ledger.tick(tick(fourth), NOW + timedelta(seconds=61))
    assert told.free == {fourth.request_id: third.request_id}
    await ledger.close()
    assert await charged(database) == [16, 0, 16, 0]
    await assert_sound(database)


async def test_a_tick_that_comes_again_changes_nothing_and_is_told_the_same(database: Database):
    customer = await add_customer(database, 100)
    ledger = ledger_of(database)
    paid, free, later = named(customer), named(customer), plain(customer)
    first, second = tick(paid), tick(free)
    for _ in range(2):
        assert (await ledger.tick(first, NOW)).free == {}
        assert (await ledger.tick(second, NOW)).free == {free.request_id: paid.request_id}
    # charged by a tick that went unanswered, before the print of another process came
    await ledger.tick(tick(later), NOW)
    lost = UndeliveredLine(key_id=later.key_id, print="b", request_id=new_id(), seconds=60)
    await ledger.tick(tick(undelivered=[lost, lost]), NOW)
    assert (await ledger.tick(tick(later), NOW)).free == {}
    used, again = plain(customer), plain(customer)
    for _ in range(2):
        told = await ledger.tick(tick(used, undelivered=[lost]), NOW)
        assert told.free == {used.request_id: lost.request_id}
        assert (await ledger.tick(tick(again), NOW)).free == {}
    one, two = plain(customer, "c"), plain(customer, "c")  # of one tick, one is free
    lost = UndeliveredLine(key_id=later.key_id, print="c", request_id=new_id(), seconds=60)
    told = await ledger.tick(tick(one, two, undelivered=[lost]), NOW)
    assert told.free == {one.request_id: lost.request_id}
    await ledger.close()
    assert await charged(database) == [16, 0, 16, 0, 16, 0, 16]
    await assert_sound(database)


async def test_another_key_pays_for_itself(database: Database):
    customer = await add_customer(database, 100)
    ledger = ledger_of(database)
    await ledger.tick(tick(named(customer)), NOW)
    other = await add_customer(database, 100)
    assert (await ledger.tick(tick(named(other)), NOW)).free == {}
    await ledger.close()
    assert await charged(database) == [16, 16]


async def test_other_requests_leave_no_print_and_a_process_of_before_goes_on(database: Database):
    customer = await add_customer(database, 100)
    ledger = ledger_of(database)
    await ledger.tick(tick(plain(customer)), NOW)
    before = tick(customer.charge(2))
    encoded = msgspec.json.decode(msgspec.json.encode(before))
    assert not encoded["usage"][0].keys() & {"print", "print_seconds"}
    assert not encoded.keys() & {"claims", "undelivered"}
    await ledger.tick(before, NOW)
    assert await kept(database) == 0
    await ledger.close()


async def test_prints_that_expired_are_removed(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prints, "_FORGET_AT_ONCE", 2)
    customer = await add_customer(database)
    rows = [
        {
            "key_id": customer.key_id, "print": str(hours), "request_id": new_id(),
            "is_once": False, "expires_at": NOW + timedelta(hours=hours),
        }
        for hours in (-3, -2, -1, 1)
    ]  # fmt: skip
    async with database.write() as connection:
        await connection.execute(insert(paid_prints), rows)
    assert [await prints.forget(database) for _ in range(3)] == [2, 1, 0]
    assert await kept(database) == 1


async def test_one_that_is_refused_has_paid_for_nothing(database: Database):
    """Its lease is gone, and its account can't pay."""
    poor = await add_customer(database, 1)
    ledger = ledger_of(database)
    refused, retry = named(poor), named(poor)
    assert (await ledger.tick(tick(refused), NOW)).refused == [refused.request_id]
    assert await kept(database) == 0
    told = await ledger.tick(tick(retry), NOW)
    assert (told.free, told.refused) == ({}, [retry.request_id])
    await ledger.close()
    assert await charged(database) == []


async def test_what_is_credited_back_makes_no_retry_free(database: Database):
    customer = await add_customer(database, 100)
    ledger = ledger_of(database)
    unknown, retry = named(customer), named(customer)
    await ledger.tick(tick(unknown), NOW)
    assert await ledger.credit_back(line(unknown, new_id())) == 16
    assert (await ledger.tick(tick(retry), NOW)).free == {}
    await ledger.close()
    assert await charged(database) == [16, 16]
    assert await available(database, customer) == 800 - 16
    await assert_sound(database)


async def test_nothing_is_credited_back_once_a_retry_was_free_for_it(database: Database):
    customer = await add_customer(database, 100)
    ledger = ledger_of(database)
    unknown, retry, later = (named(customer) for _ in range(3))
    await ledger.tick(tick(unknown), NOW)
    for _ in range(2):
        told = await ledger.tick(tick(retry), NOW)
        assert told.free == {retry.request_id: unknown.request_id}
    assert await ledger.credit_back(line(unknown, new_id())) == 0
    told = await ledger.tick(tick(later), NOW)
    assert told.free == {later.request_id: unknown.request_id}
    await ledger.close()
    assert await charged(database) == [16, 0, 0]
    assert await available(database, customer) == 800 - 16
    await assert_sound(database)
