"""Refunds: what is left, what the bank answers, and what the balance says."""

from collections.abc import Awaitable, Callable

import pytest
import stripe

from gateway.fake_stripe.fake import FakeStripe
from tests.fake_stripe.sessions import open_session

Pays = Callable[..., Awaitable[str]]


@pytest.fixture
def paid(fake: FakeStripe, client: stripe.StripeClient, customer: str) -> Pays:
    async def pay(card: str = "good") -> str:
        session = await open_session(client, customer, automatic_tax={"enabled": False})
        intent = str(fake.pay(session.id, card)["payment_intent"])
        if card == "bank_debit":
            fake.settle_async(intent)
        return intent

    return pay


async def charge_of(client: stripe.StripeClient, intent: str) -> stripe.Charge:
    found = await client.v1.payment_intents.retrieve_async(
        intent, {"expand": ["latest_charge.refunds"]}
    )
    assert isinstance(found.latest_charge, stripe.Charge)
    return found.latest_charge


async def test_parts_add_up_and_more_is_refused(
    fake: FakeStripe, client: stripe.StripeClient, paid: Pays
):
    intent = await paid()
    before = fake.balance_cents
    create = client.v1.refunds.create_async
    await create({"payment_intent": intent, "amount": 1000, "metadata": {"refund_id": "r1"}})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        await create({"payment_intent": intent, "amount": 1501})
    rest = await create({"payment_intent": intent, "expand": ["balance_transaction"]})
    with pytest.raises(stripe.InvalidRequestError) as over:
        await create({"payment_intent": intent, "amount": 1})

    assert over.value.code == "charge_already_refunded"
    assert (rest.amount, rest.status) == (1500, "succeeded")
    assert isinstance(rest.balance_transaction, stripe.BalanceTransaction)
    assert (rest.balance_transaction.amount, rest.balance_transaction.fee) == (-1500, 0)
    assert fake.balance_cents == before - 2500
    charge = await charge_of(client, intent)
    assert (charge.amount_refunded, charge.refunded) == (2500, True)
    assert charge.refunds
    assert [refund.amount for refund in charge.refunds.data] == [1500, 1000]


async def test_a_failed_refund_gives_the_money_back(
    fake: FakeStripe, client: stripe.StripeClient, paid: Pays
):
    intent = await paid("bank_debit")
    before = fake.balance_cents
    refund = await client.v1.refunds.create_async({"payment_intent": intent})
    assert refund.status == "pending"
    assert fake.balance_cents == before - 2500

    fake.settle_refund(refund.id, "failed")

    refund = await client.v1.refunds.retrieve_async(refund.id)
    assert refund.status == "failed"
    assert refund.failure_balance_transaction
    assert fake.balance_cents == before
    assert (await charge_of(client, intent)).amount_refunded == 0
    kinds = [event["type"] for event in fake.all("event")]
    assert kinds[:4] == ["refund.failed", "refund.updated", "charge.refunded", "refund.created"]


async def test_one_that_waits_for_its_receiver_can_be_canceled(
    fake: FakeStripe, client: stripe.StripeClient, paid: Pays
):
    fake.refunds_begin = "requires_action"
    refund = await client.v1.refunds.create_async({"payment_intent": await paid(), "amount": 700})
    assert (await client.v1.refunds.cancel_async(refund.id)).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.refunds.cancel_async(refund.id)


async def test_only_what_was_paid_is_refunded(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    session = await open_session(client, customer)
    intent = fake.pay(session.id, "bank_debit")["payment_intent"]
    with pytest.raises(stripe.InvalidRequestError, match="successful charge"):
        await client.v1.refunds.create_async({"payment_intent": intent})
