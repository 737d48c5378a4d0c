"""An organization with a saved card at the fake Stripe, and auto top-up by a clock of its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import organizations, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.organizations import Organization
from gateway.control_plane.alerts.notice_mails import NoticeMails
from gateway.control_plane.mail.messages import MailWriter
from gateway.control_plane.mail.outbox import Lifetimes, Outbox
from gateway.control_plane.mail.smtp import LogSender
from gateway.control_plane.payments import auto_top_up, customers, outcomes, payments
from gateway.control_plane.payments.attempts import Attempts, Reconciling
from gateway.control_plane.payments.auto_top_up import AutoTopUp, TopUpRules
from gateway.control_plane.payments.customers import Customers
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.control_plane.payments.reconciler import Reconciler
from gateway.control_plane.payments.refunds import Refunds
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.top_up_starts import TopUpStarts
from gateway.fake_stripe import customers as fake_customers
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.store import SECRET_KEY
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.database import Database
from gateway.storage.ledger import freezes, postings

URL = "https://g.example"
RULES = TopUpRules(
    enabled=True,
    threshold_nanos=1_000 * CENT_NANOS,
    amount_cents=2_500,
    month_cents_max=100_000,
)
_LIVES = Lifetimes(link_seconds=60, invitation_seconds=60, once_seconds=60)


class TopUps:
    """The parts of one process, and what a test asks of them. `now` moves by `wait` alone."""

    def __init__(self, database: Database, fake: FakeStripe, *, tax: bool, day_max: int) -> None:
        self.database = database
        self.fake = fake
        self.now = datetime.now(UTC)
        self.organization_id = ""
        self.user_id = ""
        self.customer_id = ""
        self._tax = tax
        self.api = StripeApi(SECRET_KEY, api_url=fake.url)
        outbox = Outbox(database, LogSender(), pending_max=9, lifetimes=_LIVES, host="g.example")
        writer = MailWriter({"brand": "B", "public_url": URL, "support": None})
        self.customers = Customers(database, self.api, return_url=f"{URL}/console/billing")
        self._mails = NoticeMails(database, outbox, writer, public_url=URL)
        self.reconciler = Reconciler(
            database,
            self.api,
            sweep_seconds=600,
            ended=outcomes.note,
            saved=self.customers.refresh,
        )
        self.starts = TopUpStarts(database, live=False, day_max=day_max)
        self.attempts = self.another()
        self.refunds = Refunds(database, self.api, self.reconciler, clock=self.clock)

    def clock(self) -> datetime:
        return self.now

    def another(self, reconciler: Reconciling | None = None) -> Attempts:
        """Return the job as another process has it."""
        return Attempts(
            self.database,
            self.api,
            self.starts,
            self.customers,
            reconciler or self.reconciler,
            tax=self._tax,
            clock=self.clock,
        )

    async def open(self, card: str, rules: TopUpRules) -> None:
        """Add an organization with an owner and a saved card."""
        async with self.database.write() as connection:
            user = await users.find_or_create(connection, Address("ada@example.org"))
            self.organization_id, self.user_id = user.organization_id, user.id
        self.customer_id = await self.customers.ensure(self.organization_id)
        self.fake.get("customer", self.customer_id)["address"] = {"country": "DE"}
        await self.save_card(card)
        await self.save(rules)

    async def save(self, rules: TopUpRules) -> None:
        async with self.database.write() as connection:
            await auto_top_up.save(
                connection, self.organization_id, rules, user_id=self.user_id, now=self.now
            )

    async def save_card(self, card: str) -> str:
        method: str = self.fake.save_card(self.customer_id, card)["id"]
        await self.customers.refresh(self.customer_id)
        return method

    def wait(self, **more: float) -> None:
        """Let time pass, here and at Stripe."""
        passed = timedelta(**more)
        self.now += passed
        self.fake.advance(passed.total_seconds())

    async def run_for(self, *, every: timedelta, **more: float) -> None:
        """Run the job again and again while time passes."""
        ends = self.now + timedelta(**more)
        while self.now < ends:
            await self.attempts.run()
            self.wait(seconds=every.total_seconds())

    async def settings(self) -> AutoTopUp:
        async with self.database.read() as connection:
            found = await auto_top_up.read(connection, self.organization_id)
        assert found is not None
        return found

    async def payments(self) -> list[Payment]:
        """Return all payments, the oldest first."""
        async with self.database.read() as connection:
            found = await connection.execute(select(tables.payments).order_by(tables.payments.c.id))
            return [payments.of_row(row) for row in found]

    async def mails(self) -> Sequence[Row[Any]]:
        """Return the mails about failures, which a job writes."""
        await self._mails.write()
        failed = select(tables.notices.c.id).where(tables.notices.c.type == "auto_top_up.failed")
        async with self.database.read() as connection:
            ids = set(await connection.scalars(failed))
            written = (await connection.execute(select(tables.outbox))).all()
        return [mail for mail in written if mail.ref.split(":")[1] in ids]

    async def told(self) -> list[dict[str, Any]]:
        """Return what was told of failures, the oldest first."""
        told = tables.notices.c
        query = select(told.data).where(told.type == "auto_top_up.failed").order_by(told.created_at)
        async with self.database.read() as connection:
            return [json.loads(data) for data in await connection.scalars(query)]

    async def available_cents(self) -> int:
        query = select(tables.accounts.c.available_nanos).where(
            tables.accounts.c.id == self.organization_id
        )
        async with self.database.read() as connection:
            return (await connection.scalar(query) or 0) // CENT_NANOS

    async def spend(self) -> None:
        """Use up all credit, as expired leases would post it."""
        async with self.database.write() as connection:
            account = await postings.lock_account(connection, self.organization_id)
            assert account is not None
            left = account.available_nanos
            await postings.move(connection, self.organization_id, available=-left, spent=left)

    async def owe(self, cents: int) -> None:
        """Owe what a dispute took, as it is once everything was spent."""
        async with self.database.write() as connection:
            await postings.lock_account(connection, self.organization_id)
            nanos = cents * CENT_NANOS
            await postings.move(connection, self.organization_id, owed=nanos, spent=nanos)

    async def use_method(self, connection: AsyncConnection) -> None:
        """Use the saved means of payment though it is no card, as one that Stripe adds may be."""
        (method,) = self.fake.all("payment_method", customer=self.customer_id)
        mine = tables.payment_customers.c.organization_id == self.organization_id
        await connection.execute(
            update(tables.payment_customers)
            .where(mine)
            .values(payment_method_id=method["id"], card_fingerprint="bank")
        )

    async def pay_in_console(self, fingerprint: str) -> str:
        """Add a payment that a person made with a card, and return its id."""
        paid = Payment(
            id=new_id(),
            organization_id=self.organization_id,
            origin="checkout",
            state="paid",
            credit_nanos=CENT_NANOS,
            amount_cents=1,
            live=False,
            card_fingerprint=fingerprint,
            created_at=self.now,
            changed_at=self.now,
        )
        async with self.database.write() as connection:
            await payments.add(connection, paid)
        return paid.id

    async def delete_customer(self) -> None:
        """Delete the customer in Stripe's dashboard."""
        fake_customers.delete(self.fake, self.customer_id)

    async def another_organization(self, connection: AsyncConnection) -> Organization:
        return await organizations.create(connection, "another")

    async def hold(self) -> None:
        async with self.database.write() as connection:
            await customers.hold(connection, self.organization_id, "a warning", self.now)

    async def release(self) -> None:
        async with self.database.write() as connection:
            assert await customers.release(connection, self.organization_id, self.now)

    async def freeze(self, cause: freezes.StoredCause) -> None:
        async with self.database.write() as connection:
            await freezes.freeze(connection, self.organization_id, cause)

    async def lift(self, cause: freezes.StoredCause) -> None:
        async with self.database.write() as connection:
            assert await freezes.lift(connection, self.organization_id, cause)

    def charges(self) -> int:
        """Return how many cents Stripe took."""
        return sum(charge["amount"] for charge in self.fake.all("charge", status="succeeded"))

    def tries(self) -> int:
        """Return how often a card was charged, successfully or not."""
        return len(list(self.fake.all("charge")))


@contextlib.asynccontextmanager
async def top_ups(
    database: Database,
    fake: FakeStripe,
    *,
    card: str = "good",
    rules: TopUpRules = RULES,
    tax: bool = False,
    day_max: int = 8,
) -> AsyncIterator[TopUps]:
    """Give an organization without credit, whose card is charged when the job runs."""
    opened = TopUps(database, fake, tax=tax, day_max=day_max)
    try:
        await opened.open(card, rules)
        yield opened
    finally:
        await opened.api.close()
