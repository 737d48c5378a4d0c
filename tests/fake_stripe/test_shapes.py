"""Each object has only fields that the SDK's class has, and only words that it names."""

import pytest
import stripe
from stripe import billing_portal, checkout, radar, tax

from gateway.fake_stripe.answers import EXPANDABLE, expand
from gateway.fake_stripe.fake import FakeStripe
from gateway.fake_stripe.store import public
from tests.fake_stripe.sessions import open_session
from tests.fake_stripe.shapes import fields, strangers

CLASSES: dict[str, type] = {
    "balance_transaction": stripe.BalanceTransaction,
    "billing_portal.session": billing_portal.Session,
    "charge": stripe.Charge,
    "checkout.session": checkout.Session,
    "customer": stripe.Customer,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "invoice": stripe.Invoice,
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "radar.early_fraud_warning": radar.EarlyFraudWarning,
    "refund": stripe.Refund,
    "tax.calculation": tax.Calculation,
}


@pytest.fixture
async def lived(fake: FakeStripe, client: stripe.StripeClient, customer: str) -> FakeStripe:
    """Give an account where everything happened once."""
    intents = [
        fake.pay((await open_session(client, customer)).id, tax_id="ATU1", country="AT")[
            "payment_intent"
        ]
        for _ in range(4)
    ]
    for card in ("declined", "bank_debit"):
        session = fake.pay((await open_session(client, customer)).id, card)
    fake.settle_async(session["payment_intent"], succeeds=False)
    await client.v1.checkout.sessions.expire_async((await open_session(client, customer)).id)
    fake.refund(intents[0], 100, "fraudulent")
    fake.settle_refund(fake.refund(intents[0], 100)["id"], "failed")
    for status in ("won", "lost"):
        fake.close_dispute(fake.dispute(intents.pop())["id"], status)
    fake.move_dispute(fake.dispute(intents[1], "warning_needs_response")["id"], "warning_closed")
    fake.warn(intents[0])
    waiting = await client.v1.payment_intents.create_async(
        {
            "amount": 500,
            "currency": "usd",
            "confirm": True,
            "payment_method": "pm_card_authenticationRequired",
        }
    )
    fake.authenticate(waiting.id, succeeds=False)
    await client.v1.payment_intents.cancel_async(waiting.id, {"cancellation_reason": "abandoned"})
    await client.v1.tax.calculations.create_async(
        {"currency": "usd", "customer": customer, "line_items": [{"amount": 1000}]}
    )
    await client.v1.billing_portal.sessions.create_async({"customer": customer})
    return fake


async def test_objects_are_as_the_sdk_has_them(lived: FakeStripe):
    assert set(lived.by_kind) == set(CLASSES)
    found = {
        stranger
        for kind, items in lived.by_kind.items()
        for item in items.values()
        for shown in (public(item), item["data"]["object"] if kind == "event" else {})
        for stranger in strangers(shown, CLASSES[shown.get("object", kind)], kind)
    }
    assert found == set()


async def test_expanded_objects_are_too(lived: FakeStripe):
    for kind, names in EXPANDABLE.items():
        assert names <= set(fields(CLASSES[kind]))
        for item in lived.all(kind):
            shown = expand(lived, public(item), sorted(names))
            for name in names:
                assert shown.get(name) is None or isinstance(shown[name], dict), (kind, name)
                assert list(strangers(shown, CLASSES[kind], kind)) == []


def test_a_stray_field_would_be_seen():
    intent = {"status": "paid", "invoice": "in_1", "last_payment_error": {"codes": 1}}
    assert list(strangers(intent, stripe.PaymentIntent)) == [
        ".status = 'paid'",
        ".invoice of PaymentIntent",
        ".last_payment_error.codes of LastPaymentError",
    ]
