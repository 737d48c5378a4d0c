"""Who may not buy any more can't finish a purchase either."""

import pytest

from gateway.control_plane.payments import customers
from gateway.control_plane.payments.payments import Payment
from gateway.storage.ledger import freezes
from testing.buying import Shop

pytestmark = pytest.mark.sqlite


@pytest.mark.parametrize("why", ["hold", "operator", "books"])
async def test_an_open_checkout_ends(shop: Shop, why: str):
    payment = await shop.start(10)
    assert await shop.parts.held_checkouts.run() == 0
    await stop(shop, payment, why)
    assert await shop.parts.held_checkouts.run() == 1
    assert shop.fake.get("checkout.session", str(payment.session_id))["status"] == "expired"
    await shop.reconciler.run()
    assert (await shop.now(payment)).state == "expired"
    assert await shop.parts.held_checkouts.run() == 0


@pytest.mark.parametrize("cause", ["dispute", None])
async def test_others_may_finish(shop: Shop, cause: freezes.StoredCause | None):
    payment = await shop.start(10)
    if cause:
        await stop(shop, payment, cause)
    assert await shop.parts.held_checkouts.run() == 0
    assert shop.fake.get("checkout.session", str(payment.session_id))["status"] == "open"


@pytest.mark.postgresql
async def test_what_was_paid_a_moment_before_is_credited(shop: Shop):
    payment = await shop.buy(10)
    await stop(shop, payment, "hold")
    assert await shop.parts.held_checkouts.run() == 0
    await shop.reconciler.run()
    assert (await shop.now(payment)).state == "paid"
    assert await shop.available_cents() == 1_000


async def test_a_stripe_that_fails_is_asked_again(shop: Shop):
    payment = await shop.start(10)
    await stop(shop, payment, "hold")
    shop.fake.faults.add("error_kept", "checkout.sessions.expire")
    shop.fake.faults.add("refused", "checkout.sessions.expire")
    for _ in range(4):
        await shop.parts.held_checkouts.run()
        await shop.reconciler.run()
    assert (await shop.now(payment)).state == "expired"


async def stop(shop: Shop, payment: Payment, why: str) -> None:
    async with shop.database.write() as connection:
        if why == "hold":
            await customers.hold(connection, shop.organization_id, "fraud", payment.created_at)
        else:
            cause: freezes.StoredCause = why  # type: ignore[assignment]
            await freezes.freeze(connection, shop.organization_id, cause)
