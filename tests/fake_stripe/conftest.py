"""A fake Stripe on loopback, and the SDK's own client, for each test."""

from collections.abc import AsyncIterator

import pytest
import stripe

from gateway.fake_stripe.fake import FakeStripe
from testing.stripe import fake_stripe, stripe_client


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as served:
        yield served


@pytest.fixture
async def client(fake: FakeStripe) -> AsyncIterator[stripe.StripeClient]:
    async with stripe_client(fake.url) as made:
        yield made


@pytest.fixture
async def customer(client: stripe.StripeClient) -> str:
    made = await client.v1.customers.create_async(
        {"email": "ada@example.org", "metadata": {"organization_id": "o1"}}
    )
    return made.id
