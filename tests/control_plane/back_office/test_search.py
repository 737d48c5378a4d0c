"""One search: each kind of id and name finds its own, on both databases."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, update

from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.back_office.search import search
from gateway.identifiers import made_at_ms, new_id
from gateway.storage.database import Database
from gateway.storage.tables import outbox, payments, request_log, stripe_events, usage_events
from testing.gateways import MODEL, Ledger
from testing.payments import Payment

NOW = datetime.now(UTC)


@pytest.fixture
async def owner(database: Database) -> Ledger:
    return await Ledger.create(database)


async def found(database: Database, words: str) -> list[tuple[str, str, str | None]]:
    async with database.read() as connection:
        return [(hit.kind, hit.words, hit.organization) for hit in await search(connection, words)]


async def test_organizations_and_keys(database: Database, owner: Ledger):
    organization = ("organization", "acme", "acme")
    key = ("key", f"sk-…{owner.secret[-4:]}", "acme")
    for words in ("Acme", " acm ", owner.organization_id, owner.organization_id.upper()):
        assert await found(database, words) == [organization]
    assert await found(database, owner.key_id) == [key]
    # as pages show it, its last four, and its checksum
    for words in (f"sk-…{owner.secret[-4:]}", owner.secret[-4:], owner.secret[-6:]):
        assert await found(database, words) == [key]
    for words in ("", "  ", "cme", new_id(), "%", "a" * 999):
        assert await found(database, words) == []


async def test_people_and_their_mails(database: Database):
    async with database.write() as connection:
        ada = await users.find_or_create(connection, Address("ada@one.example"))
        mail_id = new_id()
        await connection.execute(
            insert(outbox).values(
                id=mail_id, ref="r", kind="launch", recipient="ada@one.example", subject="Live",
                text="", html="", unsubscribe_url="", state="sent", attempts=1, created_at=NOW,
                due_at=NOW, give_up_at=NOW, reason="",
            )
        )  # fmt: skip
    person, mail = ("person", "ada@one.example", "ada"), ("mail", "Live", None)
    assert await found(database, "Ada@One.example") == [person, mail]
    assert await found(database, ada.id) == [person]
    assert await found(database, mail_id) == [mail]
    assert await found(database, "bob@one.example") == []


async def test_payments_and_what_stripe_calls_them(database: Database, owner: Ledger):
    payment = await Payment.create(database, owner.organization_id, cents=2_500)
    async with database.write() as connection:
        named = update(payments).where(payments.c.id == payment.id)
        await connection.execute(named.values(intent_id="pi_1", charge_id="ch_1"))
        await connection.execute(
            insert(stripe_events).values(
                id="evt_1", type="charge.updated", object_id="ch_1", created_at=NOW,
                received_at=NOW, due_at=None, attempts=1,
            )
        )  # fmt: skip
    bought, event = ("payment", "2500", "acme"), ("event", "charge.updated", None)
    for words in (payment.id, "pi_1"):
        assert await found(database, words) == [bought]
    assert await found(database, "ch_1") == [bought, event]
    assert await found(database, "evt_1") == [event]
    assert await found(database, "cus_1") == []


async def test_requests(database: Database, owner: Ledger):
    request_id = new_id()
    async with database.write() as connection:
        await connection.execute(
            insert(usage_events).values(
                request_id=request_id, organization_id=owner.organization_id, key_id=owner.key_id,
                model_id=MODEL, price_id=owner.price_id, inputs=1, tokens=1_200, cost_nanos=8,
                charged_nanos=8, created_at=NOW,
            )
        )  # fmt: skip
    async with database.read() as connection:
        (hit,) = await search(connection, request_id)
    assert (hit.kind, hit.words, hit.note) == ("request", MODEL, "1,200 tokens")
    assert hit.href == f"/admin/organizations/{owner.organization_id}/request-log/{request_id}"


async def test_requests_that_were_not_charged(database: Database, owner: Ledger):
    request_id = new_id()
    began = datetime.fromtimestamp(made_at_ms(request_id) / 1000, UTC)
    async with database.write() as connection:
        await connection.execute(
            insert(request_log).values(
                organization_id=owner.organization_id, request_id=request_id, key_id=owner.key_id,
                model_id="", created_at=began, status=404, code="model_not_found", latency_ms=1,
                tokens=None, original_id=None, missed=0,
            )
        )  # fmt: skip
    assert await found(database, request_id) == [("request", "unknown model", "acme")]
    assert await found(database, new_id()) == []
