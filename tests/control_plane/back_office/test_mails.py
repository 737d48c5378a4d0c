"""Mails are sent again by those who may, and the trail says so."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from gateway.control_plane.back_office import mails
from gateway.control_plane.mail import upkeep
from gateway.control_plane.operators.operators import NotPermitted
from gateway.storage.database import Database
from gateway.storage.tables import outbox
from testing.mailbox import put_mail
from testing.operators import make_operator, trail_of

DAY = timedelta(days=1)


async def test_a_failed_mail_is_sent_again(books: Database):
    operator = await make_operator(books, "ops@example.com", "support")
    mail_id = await put_mail(books)
    async with books.write() as connection:
        await mails.resend(connection, operator, mail_id, lifetime=DAY, reason="fixed")
    async with books.read() as connection:
        mail = await upkeep.read(connection, mail_id)
    assert (mail.state, mail.attempts) == ("pending", 0)
    assert mail.give_up_at > datetime.now(UTC)
    (entry,) = await trail_of(books, "mail.resent")
    assert (entry.actor_id, entry.subject) == (operator.user_id, f"mail:{mail_id}")
    assert (entry.before, entry.after) == (
        '{"attempts":9,"state":"failed"}',
        '{"state":"pending"}',
    )


async def test_a_link_is_tried_at_once_while_it_waits_and_keeps_its_end(books: Database):
    operator = await make_operator(books, "ops@example.com", "support")
    later = datetime.now(UTC) + timedelta(hours=1)
    mail_id = await put_mail(
        books, kind="sign_in", state="pending", attempts=2, due_at=later, give_up_at=later
    )
    async with books.write() as connection:
        await mails.resend(connection, operator, mail_id, lifetime=DAY, reason="x")
    async with books.read() as connection:
        mail = await upkeep.read(connection, mail_id)
    assert mail.due_at <= datetime.now(UTC)
    assert (mail.attempts, mail.give_up_at) == (2, later)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"kind": "sign_in"}, "contains a link"),
        ({"state": "pending", "attempts": 0}, "is pending"),
        ({"state": "sent"}, "is sent"),
        ({"text": ""}, "text is gone"),
        ({"kind": "launch", "state": "unknown"}, "may have arrived"),
    ],
)
async def test_what_cannot_be_sent_again(books: Database, values: dict, why: str):
    operator = await make_operator(books, "ops@example.com", "support")
    mail_id = await put_mail(books, **values)
    async with books.write() as connection:
        with pytest.raises(upkeep.CannotRetry, match=why):
            await mails.resend(connection, operator, mail_id, lifetime=DAY, reason="x")
    assert await trail_of(books, "mail.resent") == []


async def test_who_only_reads_sends_nothing(books: Database):
    reader = await make_operator(books, "read@example.com", "read")
    mail_id = await put_mail(books)
    async with books.write() as connection:
        with pytest.raises(NotPermitted):
            await mails.resend(connection, reader, mail_id, lifetime=DAY, reason="x")
        with pytest.raises(NotPermitted):
            await mails.resend_failed(connection, reader, lifetime=DAY, reason="x")
    async with books.read() as connection:
        assert await connection.scalar(select(outbox.c.state)) == "failed"


async def test_a_mail_that_is_sent_meanwhile_stays_sent(books: Database, monkeypatch):
    operator = await make_operator(books, "ops@example.com", "support")
    mail_id = await put_mail(books)
    read = upkeep.read

    async def slow(connection, mail_id):
        found = await read(connection, mail_id)
        await connection.execute(update(outbox).values(state="sent"))
        return found

    monkeypatch.setattr(upkeep, "read", slow)
    async with books.write() as connection:
        with pytest.raises(upkeep.CannotRetry, match="in the meantime"):
            await mails.resend(connection, operator, mail_id, lifetime=DAY, reason="x")


async def test_the_newest_first_by_state_and_person(books: Database):
    first = await put_mail(books)
    second = await put_mail(books, recipient="bob@example.org")
    third = await put_mail(books, state="sent")
    async with books.read() as connection:

        async def ids(**filters) -> list[str]:
            return [mail.id for mail in await upkeep.listed(connection, limit=2, **filters)]

        assert await ids() == [third, second]
        assert await ids(before=second) == [first]
        assert await ids(state="failed") == [second, first]
        assert await ids(recipient=" Ada@example.org") == [third, first]
