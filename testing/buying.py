"""An organization that buys at the fake Stripe, and the parts of a process that sell to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Table, select, update

from gateway.app.payments import Payments, make_payments
from gateway.control_plane.accounts import organizations
from gateway.control_plane.billing import credit
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.store import SECRET_KEY
from gateway.settings import Settings
from gateway.storage import tables
from gateway.storage.database import Database
from gateway.storage.ledger import books, freezes, invariants

WEBHOOK_SECRET = "whsec_of_the_tests_alone"


def selling(database_url: str, fake: FakeStripe, **changes: Any) -> Settings:
    """Return the settings of a gateway that sells at the fake Stripe."""
    chosen = Settings(
        secret="s" * 32,
        database_url=database_url,
        public_url="https://g.example",
        stripe_secret_key=SECRET_KEY,
        stripe_webhook_secrets=WEBHOOK_SECRET,
        stripe_api_url=fake.url,
        stripe_tax=False,
    )
    return replace(chosen, **changes)


class Shop:
    """The parts of one process, and what a test asks of them."""

    def __init__(self, database: Database, fake: FakeStripe, parts: Payments, owner: str) -> None:
        self.database = database
        self.fake = fake
        self.parts = parts
        self.organization_id = owner
        self.reconciler = parts.reconciler
        self.checkout = parts.checkout

    async def start(self, dollars: int = 25, **options: Any) -> Payment:
        """Start a payment."""
        chosen = {"save_card": False, **options}
        return await self.checkout.start(self.organization_id, None, dollars * 100, **chosen)

    async def buy(self, dollars: int = 25, card: str = "good", **options: Any) -> Payment:
        """Start a payment and pay it; nobody tells us."""
        payment = await self.start(dollars, **options)
        assert payment.session_id
        self.fake.pay(payment.session_id, card)
        return payment

    async def bought(self, dollars: int = 25, card: str = "good", **options: Any) -> Payment:
        """Start a payment, pay it, and reconcile it."""
        payment = await self.buy(dollars, card, **options)
        return await self.reconciler.reconcile(payment.id)

    async def now(self, payment: Payment) -> Payment:
        """Return the row as it is."""
        async with self.database.read() as connection:
            return await payments.find(connection, payment.id)

    async def make_due(self, payment: Payment | None = None, **earlier: float) -> None:
        """Make payments and lists due, as time would."""
        at = datetime.now(UTC) - timedelta(**earlier or {"seconds": 1})
        condition = tables.payments.c.id == payment.id if payment else tables.payments.c.id != None  # noqa: E711
        async with self.database.write() as connection:
            await connection.execute(update(tables.payments).where(condition).values(due_at=at))

    async def balance(self) -> credit.Balance:
        async with self.database.read() as connection:
            return await credit.balance(connection, self.organization_id)

    async def available_cents(self) -> float:
        return (await self.balance()).available_nanos / CENT_NANOS

    async def causes(self) -> list[Any]:
        """Return why the organization is frozen."""
        async with self.database.read() as connection:
            return list(await freezes.causes(connection, self.organization_id))

    async def rows(self, table: Table) -> list[dict[str, Any]]:
        async with self.database.read() as connection:
            return [dict(row) for row in (await connection.execute(select(table))).mappings()]

    async def books(self) -> dict[str, int]:
        """Return the balances of the platform's accounts that are not zero, in cents."""
        async with self.database.read() as connection:
            found = await books.balances(connection)
        return {name: nanos // CENT_NANOS for name, nanos in found.items() if nanos}

    async def assert_sound(self) -> None:
        """Assert that every invariant holds, and that our books have Stripe's balance."""
        async with self.database.read() as connection:
            breaches = await invariants.audit(connection)
        assert breaches == []
        assert -(await self.books()).get("stripe_clearing", 0) == self.fake.balance_cents


@contextlib.asynccontextmanager
async def opened_shop(database: Database, fake: FakeStripe, **changes: Any) -> AsyncIterator[Shop]:
    """Give an organization without credit, and a process that sells."""
    settings = selling(str(database.url), fake, **changes)
    parts = make_payments(settings, database)
    assert parts is not None
    try:
        async with database.write() as connection:
            owner = await organizations.create(connection, "acme")
        yield Shop(database, fake, parts, owner.id)
    finally:
        await parts.stripe.close()
