"""Launches: only with ready workers, once, and one mail and one credit for each who asked."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from gateway.control_plane.accounts import users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.catalog import golden
from gateway.control_plane.catalog import models as catalog
from gateway.control_plane.demand import events, launches, score, votes, waitlist
from gateway.control_plane.demand.launches import Announcements, CannotLaunch, ModelUnknown, Offer
from gateway.control_plane.demand.votes import Vote
from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.mail.messages import MailWriter
from gateway.control_plane.mail.outbox import Outbox
from gateway.control_plane.mail.smtp import LogSender
from gateway.control_plane.mail.unsubscribe import Unsubscriptions
from gateway.storage.database import Database
from gateway.storage.tables import credit_lots, model_prices, outbox
from tests.pages.conftest import MINILM, STELLA

URL = "https://g.example"


@pytest.fixture
async def seeded(database: Database) -> Database:
    async with database.write() as connection:
        await catalog.seed(connection)
        await golden.pin(connection, STELLA, "pinned", [])
    return database


def announcements(database: Database, *, wave_mails: int = 2, live: bool = True) -> Announcements:
    box = Outbox(database, LogSender(), pending_max=9, attempts_max=2, host="g.example")
    return Announcements(
        database, box, MailWriter({"brand": "B", "public_url": URL}),
        Unsubscriptions(secret="s", public_url=URL),
        Offer(credit_nanos=7, credit_days=30, wave_mails=wave_mails, wave_seconds=60),
        is_live=lambda _model: live, titles={STELLA: "Stella"}, public_url=URL,
    )  # fmt: skip


async def launch(
    database: Database, *, ready: tuple[str, ...] = ("pinned",), nanos: int = 9_000_000
) -> None:
    async with database.write() as connection:
        await launches.launch(connection, STELLA, ready=ready, nanos_per_million_tokens=nanos)


async def account(database: Database, email: str, *, vote: Vote | None = None) -> Visitor:
    address = Address(email)
    async with database.write() as connection:
        user = await users.find_or_create(connection, address)
        visitor = Visitor(
            session_id="", user_id=user.id, email=email, address_key=address.key, role="owner",
            organization_id=user.organization_id, organization_name="o",
        )  # fmt: skip
        if vote:
            await votes.cast(connection, visitor, vote)
    return visitor


async def rows(database: Database, query):
    async with database.read() as connection:
        return (await connection.execute(query)).all()


async def test_a_model_without_a_ready_worker_stays_where_it_is(seeded: Database):
    with pytest.raises(CannotLaunch, match="no ready worker"):
        await launch(seeded, ready=())
    async with seeded.read() as connection:
        model = (await catalog.snapshot(connection)).models[STELLA]
    assert (model.state, model.price.nanos_per_million_tokens) == ("coming_soon", 8_000_000)


async def test_a_model_whose_workers_nobody_vouched_for_stays_where_it_is(seeded: Database):
    with pytest.raises(CannotLaunch, match=f"gateway workers pin {STELLA}"):
        await launch(seeded, ready=("another",))
    await launch(seeded, ready=("another", "pinned"))


async def test_it_happens_once_and_fixes_the_price(seeded: Database):
    await launch(seeded)
    with pytest.raises(CannotLaunch, match="live already"):
        await launch(seeded, nanos=1)
    async with seeded.read() as connection:
        model = (await catalog.snapshot(connection)).models[STELLA]
    assert (model.state, model.price.nanos_per_million_tokens) == ("live", 9_000_000)
    prices = await rows(
        seeded,
        select(model_prices).where(
            model_prices.c.model_id == STELLA, model_prices.c.tier == "default"
        ),
    )
    assert len(prices) == 2
    async with seeded.write() as connection:
        with pytest.raises(ModelUnknown):
            await launches.launch(connection, "no/such", ready=["x"], nanos_per_million_tokens=1)


async def test_everybody_who_asked_is_mailed_and_credited_once(seeded: Database):
    wanted = Vote(model_id=STELLA)
    ada = await account(seeded, "ada@example.org", vote=wanted)
    await account(seeded, "bob@example.org", vote=wanted)
    eve = await account(seeded, "eve@example.org", vote=wanted)
    other = await account(seeded, "other@example.org", vote=Vote(model_id=MINILM))
    async with seeded.write() as connection:
        await waitlist.join(connection, STELLA, Address(ada.email), ada.user_id)
        await waitlist.join(connection, STELLA, Address("new@example.org"), None)
        await unsubscribe.add(connection, eve.email)
    await launch(seeded)
    await announcements(seeded, live=False).announce()  # this gateway has not seen it yet
    assert await rows(seeded, select(outbox)) == []
    await asyncio.gather(announcements(seeded).announce(), announcements(seeded).announce())
    await announcements(seeded).announce()
    mails = await rows(seeded, select(outbox).order_by(outbox.c.due_at))
    assert sorted(mail.recipient for mail in mails) == [
        "ada@example.org", "bob@example.org", "new@example.org",
    ]  # fmt: skip
    assert [(m.due_at - mails[0].due_at) // timedelta(seconds=60) for m in mails] == [0, 0, 1]
    by_recipient = {mail.recipient: mail for mail in mails}
    assert "$0.009 per million" in by_recipient["ada@example.org"].text
    assert "more credit" in by_recipient["ada@example.org"].text
    assert "more credit" not in by_recipient["new@example.org"].text
    assert by_recipient["ada@example.org"].unsubscribe_url.startswith(f"{URL}/mail/unsubscribe/")
    lots = await rows(seeded, select(credit_lots.c.source_ref, credit_lots.c.organization_id))
    assert ada.organization_id in {lot.organization_id for lot in lots}
    assert other.organization_id not in {lot.organization_id for lot in lots}
    assert len(lots) == 2
    async with seeded.read() as connection:
        assert (await events.funnel(connection, STELLA))["notified"] == 3
        converted = await launches.conversion(connection, STELLA)
    assert converted is not None
    assert (converted.recipients, converted.organizations_told) == (3, 2)
    assert converted.organizations_calling == 0


async def test_a_crash_half_way_is_finished_later(
    seeded: Database, monkeypatch: pytest.MonkeyPatch
):
    for n in range(5):
        await account(seeded, f"p{n}@example.org", vote=Vote(model_id=STELLA))
    await launch(seeded)
    monkeypatch.setattr(launches, "_BATCH", 2)
    crashing = announcements(seeded)
    put_all, calls = crashing._outbox.put_all, []

    async def put_two_batches(*arguments) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        await put_all(*arguments)

    monkeypatch.setattr(crashing._outbox, "put_all", put_two_batches)
    with pytest.raises(KeyboardInterrupt):
        await crashing.announce()
    assert len(await rows(seeded, select(outbox))) == 4
    await announcements(seeded).announce()
    assert len(await rows(seeded, select(outbox))) == 5
    assert len(await rows(seeded, select(credit_lots))) == 5


async def test_the_score_weighs_who_votes(seeded: Database):
    await account(seeded, "a@gmail.com", vote=Vote(model_id=STELLA, volume_million_tokens=9))
    await account(seeded, "b@acme.example", vote=Vote(model_id=STELLA, volume_million_tokens=99))
    payer = await account(seeded, "c@acme.example", vote=Vote(model_id=STELLA))
    async with seeded.write() as connection:
        await connection.execute(
            insert(credit_lots).values(
                id=payer.user_id, organization_id=payer.organization_id, kind="paid",
                amount_nanos=1, remaining_nanos=1, source_ref="p", created_at=datetime.now(UTC),
            )
        )  # fmt: skip
        parts = {part.kind: part for part in await score.parts(connection, STELLA)}
    assert (parts["verified"].votes, parts["verified"].score) == (1, 1.0)
    assert (parts["organization_domain"].votes, parts["organization_domain"].score) == (1, 3.0)
    assert (parts["paying"].votes, round(parts["paying"].score, 3)) == (1, 1.204)
    assert score.weigh("verified", 10**9) == score.weigh("verified", score.VOLUME_CAP_MILLIONS)
