"""The fake Stripe, and an organization that buys there, on both databases."""

from collections.abc import AsyncIterator

import pytest

from gateway.fake_stripe.fake import FakeStripe
from gateway.storage.database import Database
from testing.buying import Shop, opened_shop
from testing.stripe import fake_stripe


@pytest.fixture
async def fake() -> AsyncIterator[FakeStripe]:
    async with fake_stripe() as served:
        yield served
        await served.events.close()


@pytest.fixture
async def shop(database: Database, fake: FakeStripe) -> AsyncIterator[Shop]:
    async with opened_shop(database, fake) as opened:
        yield opened
