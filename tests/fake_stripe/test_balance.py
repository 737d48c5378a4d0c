"""The balance is the sum of its transactions, which come when Stripe likes."""

import stripe

from gateway.fake_stripe.fake import FakeStripe
from tests.fake_stripe.sessions import open_session


async def test_the_balance_is_the_sum_of_what_is_listed(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    for _ in range(3):
        fake.pay((await open_session(client, customer)).id)
    intent = next(fake.all("payment_intent"))["id"]
    fake.refund(intent, 300)
    listed = [
        booked
        async for booked in (
            await client.v1.balance_transactions.list_async({"limit": 2})
        ).auto_paging_iter()
    ]
    assert len(listed) == 4
    assert sum(booked.net for booked in listed) == fake.balance_cents == 3 * (2500 - 103) - 300

    balance = await client.v1.balance.retrieve_async()
    assert (balance.available[0].amount, balance.pending[0].amount) == (0, fake.balance_cents)
    fake.advance(3 * 86_400)
    balance = await client.v1.balance.retrieve_async()
    assert (balance.available[0].amount, balance.pending[0].amount) == (fake.balance_cents, 0)


async def test_a_charge_may_be_booked_later_than_it_succeeds(
    fake: FakeStripe, client: stripe.StripeClient, customer: str
):
    fake.books_late = True
    intent = fake.pay((await open_session(client, customer)).id)["payment_intent"]
    path = {"expand": ["latest_charge.balance_transaction"]}
    early = await client.v1.payment_intents.retrieve_async(intent, path)
    assert isinstance(early.latest_charge, stripe.Charge)
    assert early.latest_charge.balance_transaction is None

    assert fake.post_balances() == 1

    late = await client.v1.payment_intents.retrieve_async(intent, path)
    assert isinstance(late.latest_charge, stripe.Charge)
    assert late.latest_charge.balance_transaction
    assert fake.post_balances() == 0
