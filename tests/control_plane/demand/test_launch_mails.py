"""Launch mails: one mail and one credit for each who asked, through every crash."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.billing.promotions import Gift
from gateway.control_plane.catalog import catalog
from gateway.control_plane.demand import events, launch_mails, report, waitlist
from gateway.control_plane.demand.votes import Vote
from gateway.control_plane.mail import unsubscribe
from gateway.control_plane.mail.outbox import Outbox
from gateway.storage.database import Database
from gateway.storage.ledger import invariants, postings
from gateway.storage.tables import (
    credit_lots,
    outbox,
)
from gateway.storage.tables import launches as launch_rows
from tests.control_plane.conftest import MINILM, STELLA
from tests.control_plane.demand.conftest import URL, account, announcements, launch, rows


class Crash(Exception):
    """The process ends here."""


async def test_everybody_who_asked_is_mailed_and_credited_once(seeded: Database):
    wanted = Vote(model_id=STELLA)
    ada = await account(seeded, "ada@example.org", vote=wanted)
    await account(seeded, "bob@example.org", vote=wanted)
    eve = await account(seeded, "eve@example.org", vote=wanted)
    async with seeded.write() as connection:
        await catalog.set_state(connection, MINILM, "coming_soon")
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
    assert "of credit" in by_recipient["ada@example.org"].text
    assert "of credit" not in by_recipient["new@example.org"].text
    assert by_recipient["ada@example.org"].unsubscribe_url.startswith(f"{URL}/mail/unsubscribe/")
    lots = await rows(seeded, select(credit_lots.c.source_ref, credit_lots.c.organization_id))
    assert ada.organization_id in {lot.organization_id for lot in lots}
    assert eve.organization_id in {lot.organization_id for lot in lots}  # only the mail goes
    assert other.organization_id not in {lot.organization_id for lot in lots}
    assert len(lots) == 3
    async with seeded.read() as connection:
        assert (await events.funnel(connection, STELLA))["notified"] == 3
        converted = await report.conversion(connection, STELLA)
    assert converted is not None
    assert (converted.recipients, converted.organizations_told) == (3, 2)
    assert converted.organizations_calling == 0


@pytest.mark.parametrize("step", ["give", "put_all", "record"])
@pytest.mark.parametrize("call", [1, 2, 3])
async def test_a_crash_anywhere_is_finished_later(
    seeded: Database, monkeypatch: pytest.MonkeyPatch, step: str, call: int
):
    """Before and after what a step does, in its first, second and third turn."""
    for n in range(5):
        await account(seeded, f"p{n}@example.org", vote=Vote(model_id=STELLA))
    await launch(seeded)
    monkeypatch.setattr(launch_mails, "_BATCH", 2)
    owner = {"give": Gift, "put_all": Outbox, "record": launch_mails}[step]
    real, calls = getattr(owner, step), []

    async def crash(*arguments, **options):
        calls.append(arguments)
        outcome = await real(*arguments, **options)
        if len(calls) == call:
            raise Crash
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, crash)
        if step != "record" or call == 1:
            with pytest.raises(Crash):
                await announcements(seeded).announce()
    await asyncio.gather(announcements(seeded).announce(), announcements(seeded).announce())
    mails = await rows(seeded, select(outbox).order_by(outbox.c.due_at))
    assert len(mails) == 5
    assert [(m.due_at - mails[0].due_at) // timedelta(seconds=60) for m in mails] == [0, 0, 1, 1, 2]
    assert all("of credit" in mail.text for mail in mails)
    assert len(await rows(seeded, select(credit_lots))) == 5
    (row,) = await rows(seeded, select(launch_rows))
    assert (row.recipients, row.announced_at is not None) == (5, True)
    async with seeded.read() as connection:
        assert (await events.funnel(connection, STELLA))["notified"] == 5


async def test_waves_count_from_the_announcement(seeded: Database):
    """A launch that no gateway saw for hours: its waves don't all leave at once."""
    for n in range(4):
        await account(seeded, f"p{n}@example.org", vote=Vote(model_id=STELLA))
    await launch(seeded)
    async with seeded.write() as connection:
        hours_ago = datetime.now(UTC) - timedelta(hours=9)
        await connection.execute(update(launch_rows).values(launched_at=hours_ago))
    await announcements(seeded).announce()
    mails = await rows(seeded, select(outbox).order_by(outbox.c.due_at))
    waits = [(mail.due_at - datetime.now(UTC)).total_seconds() for mail in mails]
    assert [round(wait / 60) for wait in waits] == [0, 0, 1, 1]
    assert waits[0] > -10


async def test_launch_mails_that_wait_are_bounded(seeded: Database):
    for n in range(5):
        await account(seeded, f"p{n}@example.org", vote=Vote(model_id=STELLA))
    await launch(seeded)
    told = announcements(seeded, pending_max=3)
    for count in (3, 3):
        await told.announce()
        assert len(await rows(seeded, select(outbox))) == count
    async with seeded.write() as connection:
        await connection.execute(update(outbox).values(state="sent"))
    await told.announce()
    assert len(await rows(seeded, select(outbox))) == 5
    (row,) = await rows(seeded, select(launch_rows))
    assert row.announced_at is not None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_no_transaction_holds_two_accounts(seeded: Database):
    """The ledger locks accounts by id; so whoever grants must not wait with one in hand."""
    people = [
        await account(seeded, f"{name}@example.org", vote=Vote(model_id=STELLA)) for name in "zyxa"
    ]
    ids = sorted(person.organization_id for person in people)
    await launch(seeded)
    async with seeded.write() as connection:
        await postings.lock_account(connection, ids[2])
        announcing = asyncio.create_task(announcements(seeded).announce())
        async with asyncio.timeout(8):
            while len(await rows(seeded, select(credit_lots))) < 2:  # no event tells of a commit
                await asyncio.sleep(0.02)
            for organization_id in (*ids[:2], ids[3]):
                await postings.lock_account(connection, organization_id)
    await announcing
    assert len(await rows(seeded, select(credit_lots))) == 4


async def test_launch_credit_goes_through_the_gate_of_all_free_credit(seeded: Database):
    for email in ("a@example.org", "b@mailinator.com", "c@example.org", "d@example.org"):
        await account(seeded, email, vote=Vote(model_id=STELLA))
    await launch(seeded)
    await announcements(seeded, day_nanos=20).announce()
    lots = await rows(seeded, select(credit_lots))
    assert sum(lot.amount_nanos for lot in lots) == 14  # a third one would pass the day's 20
    async with seeded.read() as connection:
        assert await invariants.audit(connection) == []
    async with seeded.read() as connection:
        converted = await report.conversion(connection, STELLA)
    assert converted is not None
    assert converted.credit == {"granted": 2, "disposable": 1, "budget": 1}
    mails = await rows(seeded, select(outbox))
    assert len(mails) == 4  # the credit is denied, never the mail
    assert sum("of credit" in mail.text for mail in mails) == 2
