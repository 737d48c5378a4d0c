"""The end of an attempt: owners are told once, members and others never."""

from collections.abc import AsyncIterator
from datetime import datetime

import msgspec
import pytest
from sqlalchemy import select

from gateway.control_plane.accounts import memberships, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.payments import outcomes, payments
from gateway.control_plane.payments.auto_top_up import BACK_OFF
from gateway.dates import moment_text
from gateway.fake_stripe.fake import FakeStripe
from gateway.storage import tables
from gateway.storage.database import Database
from testing.stripe import fake_stripe
from testing.top_ups import TopUps, top_ups

pytestmark = pytest.mark.sqlite


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as served:
        yield served


async def test_every_owner_is_told_and_no_member(database: Database, fake: FakeStripe):
    async with top_ups(database, fake, card="refused_later") as shop:
        async with database.write() as connection:
            for email, role in (("bob@example.org", "owner"), ("eve@example.org", "member")):
                user = await users.find_or_create(connection, Address(email))
                await memberships.add(connection, user.id, shop.organization_id, role)
        await shop.attempts.run()
        mails = await shop.mails()
        assert sorted(mail.recipient for mail in mails) == ["ada@example.org", "bob@example.org"]
        for mail in mails:
            assert mail.kind == "notice"


async def test_an_end_that_is_noted_twice_is_told_once(database: Database, fake: FakeStripe):
    async with top_ups(database, fake, card="refused_later") as shop:
        await shop.attempts.run()
        (payment,) = await shop.payments()
        async with database.write() as connection:
            await outcomes.note(connection, payment)
        assert len(await shop.mails()) == 1
        assert [(notice.type, notice.ref) for notice in await told(shop)] == [
            ("auto_top_up.failed", f"auto-top-up:{payment.id}")
        ]


async def test_an_end_that_is_not_committed_is_told_to_nobody(
    database: Database, fake: FakeStripe, monkeypatch: pytest.MonkeyPatch
):
    """The row, the breaker and the notice are written together or not at all."""
    async with top_ups(database, fake, card="refused_later") as shop:
        publish = outcomes.publish

        async def fails(*arguments):
            await publish(*arguments)
            raise OSError

        monkeypatch.setattr(outcomes, "publish", fails)
        await shop.attempts.run()  # logs it, and goes on with other organizations
        (payment,) = await shop.payments()
        assert payment.state == "started"
        assert (await shop.settings()).declines == 0
        assert (list(await shop.mails()), list(await told(shop))) == ([], [])
        monkeypatch.undo()
        shop.wait(minutes=5)
        await shop.attempts.run()
        assert (await shop.settings()).declines == 1
        assert (len(await shop.mails()), len(await told(shop))) == (1, 1)
        assert shop.tries() == 1


@pytest.mark.postgresql
async def test_a_failure_of_stripes_is_told_too(database: Database, fake: FakeStripe):
    async with top_ups(database, fake) as shop:
        for method in list(fake.all("payment_method")):  # gone, and no event told of it
            method["customer"] = None
            fake.cards.pop(method["id"])
        await shop.attempts.run()
        (told_of,) = await shop.told()
        assert told_of["reason"] == "error"
        again = datetime.fromisoformat(told_of["next_attempt_at"])
        assert again - shop.now == BACK_OFF
        (mail,) = await shop.mails()
        assert mail.subject == "Auto top-up failed"
        assert "the payment could not be made" in mail.text
        assert f"We'll try again on {moment_text(again)}." in mail.text


@pytest.mark.postgresql
async def test_a_slow_payment_that_fails_days_later_counts_too(
    database: Database, fake: FakeStripe
):
    """The card's answer comes from the reconciler, not from the attempt."""
    async with top_ups(database, fake, card="bank_debit") as shop:
        async with database.write() as connection:
            await shop.use_method(connection)
        await shop.attempts.run()
        (payment,) = await shop.payments()
        assert payment.state == "processing"
        assert payment.intent_id is not None
        shop.wait(hours=2)
        await shop.attempts.run()
        assert len(await shop.payments()) == 1
        fake.settle_async(payment.intent_id, succeeds=False)
        await shop.reconciler.reconcile(payment.id)
        (payment,) = await shop.payments()
        assert payment.state == "failed"
        assert (await shop.settings()).declines == 1
        assert len(await shop.mails()) == 1


async def test_a_payment_in_the_console_closes_the_breaker_of_its_card(
    database: Database, fake: FakeStripe
):
    async with top_ups(database, fake, card="authentication_required") as shop:
        await shop.attempts.run()
        assert (await shop.settings()).paused == "authentication"
        (failed,) = await shop.payments()
        paid = await shop.pay_in_console(failed.card_fingerprint)
        async with database.write() as connection:
            await outcomes.note(connection, await payments.find(connection, paid))
        assert (await shop.settings()).paused == ""


async def told(shop: TopUps):
    async with shop.database.read() as connection:
        return (await connection.execute(select(tables.notices))).all()


async def test_the_card_that_is_named_is_the_organizations_own(
    database: Database, fake: FakeStripe
):
    async with top_ups(database, fake) as shop:
        await shop.attempts.run()
        (payment,) = await shop.payments()
        async with database.write() as connection:
            other = await shop.another_organization(connection)
            await connection.execute(
                tables.payment_customers.insert().values(
                    organization_id=other.id, generation=1, customer_id="cus_other",
                    payment_method_id=payment.payment_method_id, card_brand="amex",
                    card_last_four="0005", card_expires="", card_fingerprint="", held_reason="",
                    changed_at=shop.now,
                )
            )  # fmt: skip
            assert await outcomes._card(connection, payment) == ("visa", "4242")
            replaced = msgspec.structs.replace(payment, payment_method_id="pm_before")
            assert await outcomes._card(connection, replaced) == ("", "")
