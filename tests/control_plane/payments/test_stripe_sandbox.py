"""What we ask of Stripe, and how we read its answers: at the fake, and at Stripe's own sandbox.

The sandbox is asked only where GATEWAY_TEST_STRIPE_KEY holds a key of test mode. It shows that the
fake and the real one agree on what these steps need; no money moves.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from gateway.control_plane.payments import payments
from gateway.control_plane.payments.charges import intent_parameters
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.fake_stripe.fake import FakeStripe
from gateway.identifiers import new_id
from gateway.selling import STRIPE_API_URL
from gateway.storage.database import Database
from gateway.storage.ledger import invariants
from testing.buying import Shop, opened_shop

pytestmark = pytest.mark.sqlite

KEY = "GATEWAY_TEST_STRIPE_KEY"
LOOPBACK = ["127.0.0.1", "::1"]
BOOKED_SECONDS = 60
"""How long Stripe's sandbox may take to book a payment, which it does after it has answered."""


def reason_to_skip() -> str:
    key = os.environ.get(KEY, "")
    if not key:
        return f"{KEY} is not set"
    return "" if key.startswith(("sk_test_", "rk_test_")) else f"{KEY} is no key of test mode"


SANDBOX = pytest.param(
    "sandbox",
    marks=[
        pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip()),
        pytest.mark.allow_hosts([*LOOPBACK, STRIPE_API_URL.removeprefix("https://")]),
    ],
)


@dataclass
class Account:
    """A shop at a Stripe, and what a customer pays there with."""

    shop: Shop
    card: Callable[[str], str]


@pytest.fixture
def database_url(sqlite_database_url: list[str]) -> str:
    return sqlite_database_url[0]


@pytest.fixture(params=["fake", SANDBOX])
async def account(
    request: pytest.FixtureRequest, database: Database, fake: FakeStripe
) -> AsyncIterator[Account]:
    if request.param == "fake":
        async with opened_shop(database, fake) as shop:
            yield Account(shop, lambda customer: str(fake.save_card(customer, "good")["id"]))
        return
    real = {"stripe_secret_key": os.environ[KEY], "stripe_api_url": STRIPE_API_URL}
    async with opened_shop(database, fake, **real) as shop:
        yield Account(shop, lambda _: "pm_card_visa")


@pytest.mark.timeout(180)
async def test_a_checkout_a_charge_and_a_refund(account: Account):
    shop, began = account.shop, datetime.now(UTC)
    api, reconciler = shop.parts.stripe, shop.reconciler
    customer_id = await shop.parts.customers.ensure(shop.organization_id)
    assert not (await api.customer(customer_id)).deleted

    left = await shop.start(25)
    assert left.session_id
    session = await api.session(left.session_id)
    assert session.metadata["payment_id"] == left.id
    assert session.url == left.session_url
    lately = await api.sessions(created_from=began - timedelta(minutes=5))
    assert left.session_id in [found.id for found in lately]
    assert (await reconciler.reconcile(left.id)).state == "open"
    await api.expire_session(left.session_id, key=f"expire:{left.id}")
    assert (await reconciler.reconcile(left.id)).state == "expired"

    charged = a_charge(shop, customer_id, account.card(customer_id))
    intent = await api.create_intent(intent_parameters(charged, None), key=f"payment:{charged.id}")
    assert intent.status == "succeeded"
    again = await api.create_intent(intent_parameters(charged, None), key=f"payment:{charged.id}")
    assert again.id == intent.id
    of_customer = await api.intents(customer_id=customer_id)
    assert intent.id in [found.id for found in of_customer]
    async with shop.database.write() as connection:
        await payments.add(
            connection, msgspec.structs.replace(charged, state="open", intent_id=intent.id)
        )
    paid = await booked(shop, charged.id)
    assert (paid.state, paid.received_cents) == ("paid", 2_500)
    assert await shop.available_cents() == 2_500

    refund = await shop.parts.refunds.refund(charged.id, 1_000, "the test is over")
    assert refund.state in ("succeeded", "pending")
    assert refund.refund_id
    assert [found.id for found in await api.refunds(intent.id)] == [refund.refund_id]
    assert await api.intent_of(refund.refund_id) == intent.id
    assert await api.disputes(intent.id) == []
    assert (await reconciler.reconcile(charged.id)).refunded_cents == 1_000
    assert await shop.available_cents() == 1_500
    async with shop.database.read() as connection:
        assert await invariants.audit(connection) == []


def a_charge(shop: Shop, customer_id: str, card: str) -> Payment:
    now = datetime.now(UTC)
    return Payment(
        id=new_id(),
        organization_id=shop.organization_id,
        origin="auto",
        state="started",
        credit_nanos=2_500 * CENT_NANOS,
        amount_cents=2_500,
        live=False,
        customer_id=customer_id,
        payment_method_id=card,
        created_at=now,
        changed_at=now,
    )


async def booked(shop: Shop, payment_id: str) -> Payment:
    """Reconcile a payment until Stripe has booked it."""
    async with asyncio.timeout(BOOKED_SECONDS):
        while True:
            payment = await shop.reconciler.reconcile(payment_id)
            if "stripe_clearing" in await shop.books():
                return payment
            await asyncio.sleep(1)  # Stripe tells nobody here
