"""What one organization buys, disputes or is held for is nothing to another.

A and B have a customer at Stripe, a saved card, auto top-up that is due, and a paid attempt.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from gateway.control_plane.accounts import memberships, organizations, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.payments import (
    auto_top_up,
    customers,
    evidence,
    payments,
    top_up_starts,
)
from gateway.control_plane.payments.auto_top_up import TopUpRules
from gateway.control_plane.payments.charges import receipt_email
from gateway.control_plane.payments.customers import Customers
from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.payments.stripe_failures import StripeDown
from gateway.control_plane.payments.stripe_objects import StripeCustomer, StripePaymentMethod
from gateway.control_plane.payments.top_up_starts import TopUpStarts
from gateway.control_plane.payments.top_up_stops import is_stopped
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.database import Database
from gateway.storage.ledger import freezes

pytestmark = pytest.mark.sqlite

NOW = datetime.now(UTC).replace(microsecond=0)
BEFORE = NOW - timedelta(days=2)


class Stripe:
    """A Stripe where each organization has a customer with one card."""

    fails = False

    async def create_customer(self, _values: dict[str, Any], *, key: str) -> StripeCustomer:
        if self.fails:
            raise StripeDown("kept for the key", is_answered=True)
        return StripeCustomer(f"cus_{key}")

    async def customer(self, customer_id: str) -> StripeCustomer:
        return StripeCustomer(customer_id)

    async def payment_methods(self, _customer_id: str) -> list[StripePaymentMethod]:
        return []


class Market:
    """Organizations by name."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ids: dict[str, str] = {}
        self.stripe = Stripe()
        stripe: Any = self.stripe
        self.customers = Customers(database, stripe, return_url="https://g.example")
        self.starts = TopUpStarts(database, live=False, day_max=5)

    def __getitem__(self, name: str) -> str:
        return self.ids[name]

    async def open(self, name: str) -> None:
        async with self.database.write() as connection:
            self.ids[name] = (await organizations.create(connection, name)).id
            await connection.execute(
                insert(tables.payment_customers).values(
                    organization_id=self[name], generation=1, customer_id=f"cus_{name}",
                    payment_method_id="pm_1", card_brand="visa", card_last_four="4242",
                    card_expires="2030-01", card_fingerprint="print", held_reason="",
                    changed_at=BEFORE,
                )
            )  # fmt: skip
            await connection.execute(
                insert(tables.auto_top_ups).values(
                    organization_id=self[name], enabled=True, threshold_nanos=10**9,
                    amount_cents=1000, month_cents_max=1500, paused="", declines=0,
                    declined_card="", changed_at=BEFORE,
                )
            )  # fmt: skip
            await customers.hold(connection, self[name], "an early warning", BEFORE)
            await connection.execute(update(tables.payment_customers).values(held_at=None))

    async def within(self, act: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        async with self.database.write() as connection:
            return await act(connection, *args)

    async def pay(self, name: str, **values: Any) -> Payment:
        chosen: dict[str, Any] = {"state": "paid", "origin": "auto", "created_at": BEFORE, **values}
        payment = Payment(
            id=new_id(), organization_id=self[name], credit_nanos=10**10, amount_cents=1000,
            live=False, payment_method_id="pm_1", card_fingerprint="print", changed_at=NOW,
            **chosen,
        )  # fmt: skip
        await self.within(payments.add, payment)
        return payment

    async def dispute(self, name: str) -> Payment:
        payment = await self.pay(name, disputed_cents=1000)
        values = {"payment_id": payment.id, "amount_cents": 1000, "reason": "", "created_at": NOW}
        async with self.database.write() as connection:
            await connection.execute(
                insert(tables.payment_disputes).values(
                    id=f"dp_{name}", status="lost", changed_at=NOW, **values
                )
            )
        return payment

    async def refund(self, name: str) -> None:
        payment = await self.pay(name)
        values = {"payment_id": payment.id, "amount_cents": 1000, "reason": "", "created_at": NOW}
        async with self.database.write() as connection:
            await connection.execute(
                insert(tables.payment_refunds).values(
                    id=new_id(), state="succeeded", changed_at=NOW, **values
                )
            )

    async def hold(self, name: str) -> None:
        await self.within(customers.hold, self[name], "a warning", NOW)

    async def freeze(self, name: str) -> None:
        await self.within(freezes.freeze, self[name], "operator")

    async def attempt(self, name: str) -> None:
        await self.pay(name, state="started")

    async def switch_off(self, name: str) -> None:
        assert await self.within(auto_top_up.switch_off, self[name], NOW)

    async def due(self) -> set[str]:
        names = {held: name for name, held in self.ids.items()}
        async with self.database.read() as connection:
            found = await connection.execute(top_up_starts.due(NOW))
            return {names[row.organization_id] for row in found}

    async def rows(self, name: str) -> list[Any]:
        """Return all that an organization has here."""
        found: list[Any] = []
        async with self.database.read() as connection:
            for table in (
                tables.payment_customers, tables.buying_holds, tables.auto_top_ups, tables.payments,
            ):  # fmt: skip
                query = select(table).where(table.c.organization_id == self[name])
                found += [(table.name, *row) for row in await connection.execute(query)]
        return found


@pytest.fixture
async def market(sqlite_database_url: list[str]) -> AsyncIterator[Market]:
    database = Database(sqlite_database_url[0])
    made = Market(database)
    for name in "AB":
        await made.open(name)
        await made.pay(name, created_at=BEFORE - timedelta(days=40))
    yield made
    await database.close()


async def forget_customer(market: Market, name: str) -> None:
    async with market.database.write() as connection:
        await connection.execute(
            update(tables.payment_customers)
            .where(tables.payment_customers.c.organization_id == market[name])
            .values(customer_id=None)
        )


async def refresh(market: Market) -> None:
    await market.customers.refresh("cus_A")


async def release(market: Market) -> None:
    await market.hold("A")
    assert await market.within(customers.release, market["A"], NOW)


async def start(market: Market) -> None:
    assert await market.within(market.starts.start, market["A"], NOW)


async def wait(market: Market) -> None:
    await market.pay("A", created_at=NOW)
    assert not await market.within(market.starts.start, market["A"], NOW)


async def reassess(market: Market) -> None:
    await market.pay("A", state="failed", failure_code="insufficient_funds", created_at=NOW)
    await market.within(auto_top_up.reassess, market["A"])


async def switch_off(market: Market) -> None:
    await market.switch_off("A")


@pytest.mark.parametrize("act", [refresh, release, start, wait, reassess, switch_off])
async def test_what_is_done_to_one_changes_no_row_of_another(
    market: Market, act: Callable[[Market], Awaitable[None]]
):
    await market.hold("B")
    own, others = await market.rows("A"), await market.rows("B")
    await act(market)
    assert await market.rows("B") == others
    assert await market.rows("A") != own


async def test_a_customer_is_made_for_one(market: Market):
    for name in "AB":
        await forget_customer(market, name)
    before = await market.rows("B")
    assert (await market.customers.ensure(market["A"])).endswith(f"{market['A']}:1")
    assert await market.rows("B") == before
    await forget_customer(market, "A")
    market.stripe.fails = True
    with pytest.raises(StripeDown):
        await market.customers.ensure(market["A"])
    market.stripe.fails = False
    assert (await market.customers.ensure(market["A"])).endswith(f"{market['A']}:2")
    assert await market.rows("B") == before


@pytest.mark.parametrize("stop", ["dispute", "refund", "hold", "freeze", "attempt", "switch_off"])
async def test_what_stops_one_stops_no_other(market: Market, stop: str):
    assert await market.due() == {"A", "B"}
    waiting = {name: await market.pay(name, state="failed") for name in "AB"}
    await getattr(market, stop)("B")
    assert await market.due() == {"A"}
    if stop != "attempt":
        stopped = [name for name in "AB" if await market.within(is_stopped, waiting[name])]
        assert stopped == ["B"]


async def test_what_one_has_spent_counts_for_no_other(market: Market):
    await market.pay("B", created_at=NOW - timedelta(hours=2))
    assert await market.within(market.starts.start, market["A"], NOW)
    assert not await market.within(market.starts.start, market["B"], NOW)  # $20 of $15 a month


async def test_evidence_is_of_its_payment_alone(market: Market):
    paid = {}
    for name, left in (("A", 5), ("B", 7)):
        paid[name] = await market.dispute(name)
        lot = {
            "id": new_id(), "organization_id": market[name], "kind": "paid", "amount_nanos": left,
            "remaining_nanos": left, "source_ref": f"payment:{paid[name].id}", "created_at": NOW,
        }  # fmt: skip
        used = {
            "organization_id": market[name], "day": NOW.date(), "shard": 0, "key_id": new_id(),
            "model_id": "m", "requests": left, "inputs": 1, "tokens": 1, "charged_nanos": 1,
        }  # fmt: skip
        async with market.database.write() as connection:
            await connection.execute(insert(tables.credit_lots).values(lot))
            await connection.execute(insert(tables.usage_days).values(used))
    for name, left in (("A", 5), ("B", 7)):
        found = await market.within(partial(evidence.collect, terms_url=""), paid[name].id)
        assert [one.id for one in found.disputes] == [f"dp_{name}"]
        assert found.credit_left_nanos == left
        assert [day.requests for day in found.usage] == [left]
        assert found.organization_name == name


async def test_settings_are_ones_own(market: Market):
    before = await market.within(auto_top_up.read, market["B"])
    wanted = TopUpRules(enabled=True, threshold_nanos=5, amount_cents=2000, month_cents_max=4000)
    save = partial(auto_top_up.save, user_id=None, now=NOW)
    await market.within(save, market["A"], wanted)
    own = await market.within(auto_top_up.read, market["A"])
    assert (own.amount_cents, own.month_cents_max) == (2000, 4000)
    assert await market.within(auto_top_up.read, market["B"]) == before


async def test_only_ones_own_attempts_are_listed(market: Market):
    await market.pay("A", origin="checkout")
    for name in "AB":
        found = await market.within(auto_top_up.attempts, market[name], 10)
        assert [(one.organization_id, one.origin) for one in found] == [(market[name], "auto")]


async def test_the_receipt_goes_to_the_first_owner_of_the_organization(market: Market):
    for person, name, role in [
        ("ada", "B", "owner"), ("eve", "A", "billing"), ("bob", "A", "owner"),
        ("dan", "A", "owner"),
    ]:  # fmt: skip
        user = await market.within(users.find_or_create, Address(f"{person}@example.com"))
        await market.within(memberships.add, user.id, market[name], role)
    assert await market.within(receipt_email, market["A"]) == "bob@example.com"
    assert await market.within(receipt_email, market["B"]) == "ada@example.com"
