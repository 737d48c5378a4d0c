"""What is held about a person who bought, and what becomes of their saved card."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest
from sqlalchemy import insert, select, update

from gateway.control_plane.accounts import privacy
from gateway.control_plane.accounts.sessions import Visitor
from gateway.identifiers import new_id
from gateway.storage import tables
from gateway.storage.database import Database
from testing.stripe import fake_stripe
from testing.top_ups import TopUps, top_ups


@pytest.fixture
async def shop(database: Database) -> AsyncIterator[TopUps]:
    async with fake_stripe() as fake, top_ups(database, fake) as opened:
        yield opened


async def test_the_saved_card_is_forgotten_and_nothing_is_bought_with_it(shop: TopUps):
    await forget(shop)
    await shop.attempts.run()
    assert shop.tries() == 0
    async with shop.database.read() as connection:
        rules = (await connection.execute(select(tables.auto_top_ups))).one()
        customer = (await connection.execute(select(tables.payment_customers))).one()
    assert (rules.enabled, rules.changed_by) == (False, None)
    assert customer.payment_method_id is None
    assert (customer.card_brand, customer.card_last_four, customer.card_fingerprint) == ("", "", "")


async def test_the_log_of_requests_goes_with_the_last_member(shop: TopUps):
    other, now = new_id(), datetime.now(UTC)
    async with shop.database.write() as connection:
        for owner in (shop.organization_id, other):
            await connection.execute(
                insert(tables.request_log).values(
                    organization_id=owner, request_id=new_id(), key_id=new_id(), model_id="m",
                    created_at=now, status=402, code="key_budget_exceeded", latency_ms=1, missed=0,
                )
            )  # fmt: skip
            await connection.execute(
                insert(tables.error_hours).values(
                    organization_id=owner, hour=now, key_id=new_id(), model_id="m", status=402,
                    code="key_budget_exceeded", errors=1,
                )
            )  # fmt: skip
    await forget(shop)
    async with shop.database.read() as connection:
        for table in (tables.request_log, tables.error_hours, tables.error_days):
            left = await connection.scalars(select(table.c.organization_id))
            assert left.all() == [other]


async def test_a_card_that_stripe_tells_of_later_is_not_charged_either(shop: TopUps):
    await forget(shop)
    await shop.customers.refresh(shop.customer_id)
    await shop.attempts.run()
    assert shop.tries() == 0


async def test_an_attempt_that_has_only_begun_charges_nothing(shop: TopUps):
    assert await shop.starts.run(shop.now) == 1
    await forget(shop)
    await shop.attempts.run()
    (payment,) = await shop.payments()
    assert (payment.state, shop.tries()) == ("canceled", 0)


async def test_the_export_has_what_a_person_bought_and_set_up(shop: TopUps):
    payment_id = await shop.pay_in_console("a card")
    async with shop.database.write() as connection:
        await connection.execute(
            update(tables.payments).values(
                user_id=shop.user_id, tax_id="DE123456789", country="DE", invoice_number="INV-1"
            )
        )
        await connection.execute(
            insert(tables.webhook_endpoints).values(
                id=new_id(), organization_id=shop.organization_id, url="https://ada.example/hook",
                secret=b"", created_by=shop.user_id, created_at=shop.now, disabled_reason="",
                served_at=shop.now,
            )
        )  # fmt: skip
        held = await privacy.export(connection, visitor_of(shop))
    (payment,), (webhook,), (rules,) = held["payments"], held["webhooks"], held["auto_top_ups"]
    assert (payment["id"], payment["tax_id"], payment["country"]) == (
        payment_id,
        "DE123456789",
        "DE",
    )
    assert payment["invoice_number"] == "INV-1"
    assert webhook["url"] == "https://ada.example/hook"
    assert (rules["organization_id"], bool(rules["enabled"])) == (shop.organization_id, True)
    assert msgspec.json.encode(held)


async def forget(shop: TopUps) -> None:
    async with shop.database.write() as connection:
        await privacy.forget(connection, visitor_of(shop))


def visitor_of(shop: TopUps) -> Visitor:
    return Visitor(
        read_at=datetime.now(UTC),
        session_id="",
        user_id=shop.user_id,
        email="ada@example.org",
        address_key="ada@example.org",
        role="owner",
        organization_id=shop.organization_id,
        organization_name="ada",
    )
