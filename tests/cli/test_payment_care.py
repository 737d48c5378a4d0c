"""`gateway billing` for what went wrong: refunds, holds, disputes, evidence, auto top-up."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.control_plane.payments import payments
from gateway.fake_stripe.store import SECRET_KEY
from gateway.storage.database import Database
from testing.stripe import fake_stripe
from testing.top_ups import TopUps, top_ups
from tests.cli.test_cli import Shell


@pytest.fixture
async def shop(sqlite_database_url: list[str]) -> AsyncIterator[TopUps]:
    """An organization that has bought $25."""
    database = Database(sqlite_database_url[0])
    async with fake_stripe() as fake, top_ups(database, fake) as opened:
        await opened.attempts.run()
        yield opened
    await database.close()


async def run(shop: TopUps, *words: str, status: int = 0) -> str:
    """Run a command in a thread: the fake Stripe is served by this one."""
    shell = Shell(shop.database.url.render_as_string())
    shell.environment |= {
        "GATEWAY_STRIPE_SECRET_KEY": SECRET_KEY,
        "GATEWAY_STRIPE_API_URL": shop.fake.url,
        "GATEWAY_TERMS": "https://g.example/terms",
    }
    return await asyncio.to_thread(shell.run, "billing", *words, status=status)


async def test_a_part_of_a_payment_is_refunded(shop: TopUps):
    (payment,) = await shop.payments()
    said = await run(shop, "refund", payment.id, "10.00", "--reason", "half happy")
    assert "Refunded $10.00" in said
    said = await run(shop, "refund", payment.id, "10.00", "--reason", "half happy")
    assert "Nothing more is refunded: the same reason refunded $10.00" in said
    assert await shop.available_cents() == 1_500
    made = json.loads(await run(shop, "refund", payment.id, "--reason", "unhappy", "--json"))
    assert (made["state"], made["amount_cents"]) == ("succeeded", 1_500)
    assert await shop.available_cents() == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("25.01",), "$25.00 of this payment can be refunded"),
        (("1.005",), "dollars and cents"),
        (("0",), "dollars and cents"),
        (("much",), "not an amount"),
    ],
)
async def test_what_can_not_be_refunded_is_told(shop: TopUps, words: tuple[str, ...], why: str):
    (payment,) = await shop.payments()
    assert why in await run(shop, "refund", payment.id, *words, "--reason", "x", status=1)
    assert await shop.available_cents() == 2_500


async def test_a_payment_that_does_not_exist(shop: TopUps):
    for name in ("nonsense", "01a224bb-6224-75e8-80b1-137888a5b65f"):
        for command in (("refund", name, "--reason", "x"), ("evidence", name)):
            assert "There is no payment" in await run(shop, *command, status=1)


async def test_a_refund_without_an_answer_is_made_later(shop: TopUps):
    (payment,) = await shop.payments()
    shop.fake.faults.add("lost", "refunds.create")
    said = await run(shop, "refund", payment.id, "--reason", "lost")
    assert "Stripe has not answered" in said


async def test_a_refund_that_stripe_refuses(shop: TopUps):
    (payment,) = await shop.payments()
    assert payment.intent_id is not None
    shop.fake.refund(payment.intent_id)
    assert "Stripe refused to refund" in await run(shop, "refund", payment.id, "--reason", "late")


async def test_a_held_organization_is_shown_and_released(shop: TopUps):
    await shop.hold()
    assert "a warning" in await run(shop, "attention")
    assert "may buy again" in await run(shop, "release", shop.organization_id)
    assert "was not held" in await run(shop, "release", shop.organization_id)
    assert json.loads(await run(shop, "attention", "--json"))["held"] == []


async def test_a_payment_is_seen_and_given_up(shop: TopUps):
    (payment,) = await shop.payments()
    assert "did not need attention" in await run(shop, "seen", payment.id)
    async with shop.database.write() as connection:
        await payments.change(connection, payment.id, {"attention": "odd", "state": "open"})
    assert "Seen: odd" in await run(shop, "seen", payment.id)
    said = await run(shop, "abandon", payment.id, "--reason", "lost at Stripe")
    assert "is canceled" in said


async def test_evidence_is_json(shop: TopUps):
    (payment,) = await shop.payments()
    found = json.loads(await run(shop, "evidence", payment.id))
    assert found["receipt"]["payment_id"] == payment.id
    assert found["terms_url"] == "https://g.example/terms"


async def test_auto_top_up_says_why_it_stands_still(shop: TopUps):
    said = await run(shop, "auto-top-up", shop.organization_id)
    assert "On: buys $25.00 below $10.00, at most $1,000.00 a month." in said
    assert "paid" in said
    said = await run(shop, "auto-top-up", shop.organization_id, "--off")
    assert said.startswith("Off:")
    report = json.loads(await run(shop, "auto-top-up", shop.organization_id, "--json"))
    assert report["settings"]["enabled"] is False
    assert [one["state"] for one in report["attempts"]] == ["paid"]
    async with shop.database.write() as connection:
        other = await shop.another_organization(connection)
    assert "has not set up" in await run(shop, "auto-top-up", other.id)
