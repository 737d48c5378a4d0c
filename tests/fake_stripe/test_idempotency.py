"""Idempotency keys: the same answer for a day, whatever was lost on the way."""

import asyncio

import pytest
import stripe

from gateway.fake_stripe.fake import FakeStripe
from testing.stripe import stripe_client


def buying(customer: str, method: str, cents: int = 1000) -> dict[str, object]:
    return {
        "amount": cents,
        "currency": "usd",
        "customer": customer,
        "payment_method": method,
        "confirm": True,
        "off_session": True,
    }


@pytest.fixture
def method(fake: FakeStripe, customer: str) -> str:
    return str(fake.save_card(customer)["id"])


def made(fake: FakeStripe) -> int:
    return len(list(fake.all("payment_intent")))


async def test_a_key_answers_the_same_again_and_does_nothing(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, method: str
):
    create = client.v1.payment_intents.create_async
    first = await create(buying(customer, method), {"idempotency_key": "payment:1"})
    second = await create(buying(customer, method), {"idempotency_key": "payment:1"})

    assert first.id == second.id
    assert made(fake) == 1
    assert second.last_response
    assert second.last_response.headers["idempotent-replayed"] == "true"
    assert first.last_response
    assert second.last_response.headers["original-request"] == first.last_response.request_id


async def test_a_key_with_other_parameters_is_refused(
    client: stripe.StripeClient, customer: str, method: str
):
    create = client.v1.payment_intents.create_async
    await create(buying(customer, method), {"idempotency_key": "payment:1"})
    with pytest.raises(stripe.IdempotencyError):
        await create(buying(customer, method, 1001), {"idempotency_key": "payment:1"})
    with pytest.raises(stripe.IdempotencyError):
        await client.v1.customers.create_async({}, {"idempotency_key": "payment:1"})


async def test_a_key_is_forgotten_after_a_day(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, method: str
):
    create = client.v1.payment_intents.create_async
    await create(buying(customer, method), {"idempotency_key": "payment:1"})
    fake.advance(24 * 3600 + 2)
    await create(buying(customer, method), {"idempotency_key": "payment:1"})
    assert made(fake) == 2


async def test_a_key_in_use_is_a_conflict(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, method: str
):
    create = client.v1.payment_intents.create_async
    fake.faults.add("hang", "payment_intents.create")
    hanging = asyncio.create_task(
        create(buying(customer, method), {"idempotency_key": "payment:1"})
    )
    while not any(name == "payment_intents.create" for name, _ in fake.calls):
        await asyncio.sleep(0)
    with pytest.raises(stripe.StripeError) as conflict:
        await create(buying(customer, method), {"idempotency_key": "payment:1"})
    assert conflict.value.http_status == 409
    assert made(fake) == 0

    fake.faults.release()

    assert (await hanging).status == "succeeded"
    assert made(fake) == 1


async def test_a_declined_card_stays_declined_for_its_key(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, method: str
):
    create = client.v1.payment_intents.create_async
    fake.set_card(method, "insufficient_funds")
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await create(buying(customer, method), {"idempotency_key": "payment:1"})
        fake.set_card(method, "good")
    assert declined.value.error
    assert declined.value.error.decline_code == "insufficient_funds"
    assert made(fake) == 1


@pytest.mark.parametrize(
    ("kind", "made_by_then"),
    [
        ("refused", 0),
        ("busy", 0),
        ("error_before", 0),
        ("lost", 1),
        ("error_after", 1),
    ],
)
async def test_the_same_key_after_a_fault_pays_once(
    fake: FakeStripe,
    client: stripe.StripeClient,
    customer: str,
    method: str,
    kind: str,
    made_by_then: int,
):
    create = client.v1.payment_intents.create_async
    fake.faults.add(kind, "payment_intents.*")
    with pytest.raises(stripe.StripeError) as failed:
        await create(buying(customer, method), {"idempotency_key": "payment:1"})
    lost = kind in {"lost", "refused"}
    assert isinstance(failed.value, stripe.APIConnectionError) == lost
    assert failed.value.http_status == (None if lost else {"busy": 429}.get(kind, 500))
    assert made(fake) == made_by_then

    intent = await create(buying(customer, method), {"idempotency_key": "payment:1"})

    assert intent.status == "succeeded"
    assert made(fake) == 1


async def test_a_500_that_was_kept_is_what_the_key_answers(
    fake: FakeStripe, client: stripe.StripeClient, customer: str, method: str
):
    create = client.v1.payment_intents.create_async
    fake.faults.add("error_kept")
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            await create(buying(customer, method), {"idempotency_key": "payment:1"})
    assert made(fake) == 1


async def test_bad_parameters_leave_the_key_free(
    client: stripe.StripeClient, customer: str, method: str
):
    create = client.v1.payment_intents.create_async
    with pytest.raises(stripe.InvalidRequestError):
        await create(buying(customer, method, 49), {"idempotency_key": "payment:1"})
    await create(buying(customer, method, 50), {"idempotency_key": "payment:1"})


async def test_an_answer_may_come_later_than_the_client_waits(
    fake: FakeStripe, customer: str, method: str
):
    async with stripe_client(fake.url, timeout_seconds=0.2) as hasty:
        create = hasty.v1.payment_intents.create_async
        fake.faults.add("hang_after", "payment_intents.create")
        with pytest.raises(stripe.APIConnectionError):
            await create(buying(customer, method), {"idempotency_key": "payment:1"})
        intent = await create(buying(customer, method), {"idempotency_key": "payment:1"})
    assert intent.status == "succeeded"
    assert made(fake) == 1
