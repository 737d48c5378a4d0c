"""The reconciler takes nothing back of what the job of auto top-ups wrote."""

import pytest

from gateway.control_plane.payments import auto_top_up
from gateway.control_plane.payments.adoption import adopt
from gateway.fake_stripe.fake import FakeStripe
from gateway.storage.database import Database
from testing.top_ups import top_ups

pytestmark = pytest.mark.sqlite


@pytest.mark.parametrize("is_canceled", [False, True])
async def test_why_one_failed_stays_known(
    database: Database, fake: FakeStripe, *, is_canceled: bool
):
    async with top_ups(database, fake, card="authentication_required") as shop:
        await shop.attempts.run()
        (failed,) = await shop.payments()
        assert failed.intent_id is not None
        if is_canceled:
            await shop.api.cancel_intent(failed.intent_id, key="k")
            fake.get("payment_intent", failed.intent_id)["last_payment_error"] = None
        await shop.reconciler.reconcile(failed.id)
        (payment,) = await shop.payments()
        assert (payment.state, payment.failure_code) == ("failed", "authentication_required")
        assert payment.failure_reason == failed.failure_reason
        async with database.write() as connection:
            await auto_top_up.reassess(connection, shop.organization_id)
        assert (await shop.settings()).paused == "authentication"


@pytest.mark.postgresql
async def test_one_that_waits_for_a_cardholder_is_canceled_though_the_sweep_found_it(
    database: Database, fake: FakeStripe
):
    async with top_ups(database, fake) as shop:
        fake.faults.add("lost", "payment_intents.create")
        await shop.attempts.run()
        (intent,) = fake.all("payment_intent")
        intent |= {"status": "requires_action", "amount_received": 0}
        found = await shop.api.intent(intent["id"])
        async with database.write() as connection:
            assert await adopt(connection, found)
        await shop.reconciler.run()
        shop.wait(hours=20.5)  # now it is looked for
        await shop.attempts.run()
        (payment,) = await shop.payments()
        assert (payment.state, payment.failure_code) == ("failed", "authentication_required")
        assert fake.get("payment_intent", intent["id"])["status"] == "canceled"
