"""What can be shown to a bank about a payment, and what needs an operator."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import insert

from gateway.control_plane.accounts.sessions import Sessions
from gateway.control_plane.payments import attention, evidence
from gateway.control_plane.payments.payments import NoSuchPayment
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage.database import Database
from gateway.storage.tables import usage_days
from testing.stripe import fake_stripe
from testing.top_ups import TopUps, top_ups

pytestmark = pytest.mark.sqlite

TERMS = "https://g.example/terms"


@pytest.fixture
async def shop(database: Database) -> AsyncIterator[TopUps]:
    """An organization that has bought $25."""
    async with fake_stripe() as fake, top_ups(database, fake) as opened:
        await opened.attempts.run()
        yield opened


@pytest.mark.postgresql
async def test_evidence_says_who_paid_what_and_how_it_was_used(shop: TopUps):
    (payment,) = await shop.payments()
    assert payment.intent_id is not None
    sessions = Sessions(shop.database, secret=Keyring("s" * 32), seconds=3600, rotation_seconds=60)
    async with shop.database.write() as connection:
        await sessions.begin(connection, shop.user_id, shop.organization_id)
        await connection.execute(
            insert(usage_days).values(
                organization_id=shop.organization_id, day=payment.created_at.date(), shard=0,
                key_id=new_id(), model_id="m", requests=3, inputs=4, tokens=5, charged_nanos=6,
            )
        )  # fmt: skip
    dispute = shop.fake.dispute(payment.intent_id)
    await shop.reconciler.reconcile(payment.id)
    async with shop.database.read() as connection:
        found = await evidence.collect(connection, payment.id, terms_url=TERMS)
    assert found.receipt.payment_id == payment.id
    assert (found.receipt.received_cents, found.receipt.disputed_cents) == (2_500, 2_500)
    assert found.receipt.intent_id == payment.intent_id
    assert found.organization_id == shop.organization_id
    assert found.terms_url == TERMS
    assert [(one.id, one.status) for one in found.disputes] == [(dispute["id"], "needs_response")]
    assert [(day.requests, day.tokens, day.cost_nanos) for day in found.usage] == [(3, 5, 6)]
    assert [one.email for one in found.sign_ins] == ["ada@example.org"]
    assert found.credit_left_nanos == 0  # withdrawn by the dispute


@pytest.mark.parametrize("payment_id", ["nonsense", "01a224bb-6224-75e8-80b1-137888a5b65f", ""])
async def test_there_is_no_evidence_of_nothing(shop: TopUps, payment_id: str):
    async with shop.database.read() as connection:
        with pytest.raises(NoSuchPayment):
            await evidence.collect(connection, payment_id, terms_url="")


async def test_what_needs_an_operator_is_listed(shop: TopUps):
    (payment,) = await shop.payments()
    assert payment.intent_id is not None
    async with shop.database.read() as connection:
        none = await attention.needed(connection)
    assert (none.held, none.payments, none.disputes) == ([], [], [])
    await shop.hold()
    shop.fake.dispute(payment.intent_id)
    await shop.reconciler.reconcile(payment.id)
    async with shop.database.read() as connection:
        found = await attention.needed(connection)
    assert [one.organization_id for one in found.held] == [shop.organization_id]
    assert [one.payment_id for one in found.disputes] == [payment.id]
