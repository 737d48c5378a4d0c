"""Disputes and warnings: when money goes, when it comes back."""

import pytest
import stripe

from gateway.fake_stripe.fake import FakeStripe
from tests.fake_stripe.sessions import open_session


@pytest.fixture
async def intent(fake: FakeStripe, client: stripe.StripeClient, customer: str) -> str:
    session = await open_session(client, customer, automatic_tax={"enabled": False})
    return str(fake.pay(session.id)["payment_intent"])


def told(fake: FakeStripe) -> list[str]:
    kinds = [event["type"] for event in fake.all("event")]
    return [kind.removeprefix("charge.dispute.") for kind in reversed(kinds) if "dispute" in kind]


@pytest.mark.parametrize(
    ("status", "back", "kinds"),
    [
        ("won", 2500, ["updated", "updated", "funds_reinstated", "closed"]),
        ("lost", 0, ["updated", "updated", "closed"]),
    ],
)
async def test_a_dispute_takes_the_money_until_it_is_won(
    fake: FakeStripe,
    client: stripe.StripeClient,
    intent: str,
    status: str,
    back: int,
    kinds: list[str],
):
    before = fake.balance_cents
    dispute = fake.dispute(intent)["id"]
    assert fake.balance_cents == before - 2500 - 1500
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.refunds.create_async({"payment_intent": intent})
    assert refused.value.code == "charge_disputed"
    reviewed = await client.v1.disputes.update_async(
        dispute, {"evidence": {"access_activity_log": "used"}, "submit": True}
    )
    assert reviewed.status == "under_review"

    fake.close_dispute(dispute, status)

    assert fake.balance_cents == before - 2500 - 1500 + back
    (listed,) = (await client.v1.disputes.list_async({"payment_intent": intent})).data
    assert listed.status == status
    assert sum(each.net for each in listed.balance_transactions) == back - 4000
    assert told(fake) == ["created", "funds_withdrawn", *kinds]


async def test_an_inquiry_takes_nothing_until_it_becomes_a_dispute(fake: FakeStripe, intent: str):
    before = fake.balance_cents
    inquiry = fake.dispute(intent, "warning_needs_response")["id"]
    assert fake.balance_cents == before
    fake.move_dispute(inquiry, "needs_response")
    assert fake.balance_cents == before - 4000
    assert told(fake) == ["created", "updated", "funds_withdrawn"]


async def test_a_closed_dispute_stays_closed(fake: FakeStripe, intent: str):
    dispute = fake.close_dispute(fake.dispute(intent)["id"], "lost")["id"]
    with pytest.raises(Exception, match="can't go from lost to won"):
        fake.close_dispute(dispute, "won")


async def test_a_warning_moves_no_money(fake: FakeStripe, client: stripe.StripeClient, intent: str):
    before = fake.balance_cents
    fake.warn(intent)
    (warning,) = (
        await client.v1.radar.early_fraud_warnings.list_async({"payment_intent": intent})
    ).data
    assert warning.actionable
    assert fake.balance_cents == before
