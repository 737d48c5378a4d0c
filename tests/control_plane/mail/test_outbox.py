"""The outbox: each mail once, within bounds, through every crash."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import structlog
from sqlalchemy import event, select, update

from gateway.app.jobs import Jobs
from gateway.control_plane.mail import outbox as outbox_module
from gateway.control_plane.mail import smtp, unsubscribe, upkeep
from gateway.control_plane.mail.messages import Mail
from gateway.control_plane.mail.outbox import Lifetimes, Outbox, OutboxFull
from gateway.control_plane.mail.smtp import MailLost, MailRefused, SmtpSender
from gateway.storage.database import Database
from gateway.storage.tables import outbox
from gateway.wings import JOB_SECONDS, Job
from testing.mailbox import Mailbox
from tests.control_plane.mail.conftest import a_mail

LIVES = Lifetimes(link_seconds=60, invitation_seconds=60, quiet_seconds=172_800)


class Scripted:
    """A sender that does what it is told, one step a mail."""

    def __init__(self, *steps: Exception | None) -> None:
        self.steps = list(steps)
        self.sent: list[str] = []

    async def send(self, mail: Mail, message_id: str) -> None:  # noqa: ARG002
        step = self.steps.pop(0) if self.steps else None
        if step:
            raise step
        self.sent.append(mail.ref)


class Died(BaseException):
    """The process ends here."""


def box(database: Database, sender, **options) -> Outbox:
    return Outbox(
        database,
        sender,
        **{"pending_max": 3, "lifetimes": LIVES, "host": "h.example"} | options,
    )


@pytest.mark.sqlite
async def test_a_turn_in_which_nothing_is_due_asks_one_question(database: Database):
    target, asked = box(database, Scripted()), []
    await put(database, target, a_mail("1"))
    assert await target.deliver() == 1

    def note(_connection, _cursor, statement, *_) -> None:
        asked.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    assert await target.deliver() == 0
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    assert len([text for text in asked if text.startswith("SELECT")]) == 1


async def put(database: Database, target: Outbox, *mails: Mail) -> None:
    async with database.write() as connection:
        for mail in mails:
            await target.put(connection, mail)


async def states(database: Database) -> dict[str, str]:
    async with database.read() as connection:
        return {row.ref: row.state for row in await connection.execute(select(outbox))}


async def row_of(database: Database, ref: str):
    async with database.read() as connection:
        return (await connection.execute(select(outbox).where(outbox.c.ref == ref))).one()


async def test_when_a_mail_left_is_kept_and_of_one_that_did_not_nothing(database: Database):
    target = box(database, Scripted(None, MailRefused("no such address", for_good=True)))
    await put(database, target, a_mail("sent"), a_mail("refused"))
    before = datetime.now(UTC)
    await target.deliver()
    sent = (await row_of(database, "sent")).sent_at
    assert before <= sent <= datetime.now(UTC)
    assert (await row_of(database, "refused")).sent_at is None


async def be_due(database: Database) -> None:
    async with database.write() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(outbox).values(due_at=past))


async def test_the_same_mail_is_sent_once(database: Database):
    sender = Scripted()
    target = box(database, sender)
    await put(database, target, a_mail("a"), a_mail("a"), a_mail("b"))
    await asyncio.gather(target.deliver(), box(database, sender).deliver())
    assert await target.deliver() == 0
    assert sorted(sender.sent) == ["a", "b"]


@pytest.mark.sqlite
async def test_a_text_with_a_link_is_forgotten_once_it_left(database: Database):
    await put(database, target := box(database, Scripted()), a_mail())
    await target.deliver()
    async with database.read() as connection:
        row = (await connection.execute(select(outbox))).one()
    assert (row.text, row.html) == ("", "")


@pytest.mark.sqlite
async def test_refused_for_now_a_link_is_tried_while_it_lives(database: Database):
    """15 seconds, then 30; the next turn would come when nobody can use it."""
    no = MailRefused("later", for_good=False)
    target = box(database, Scripted(no, no, no, no))
    await put(database, target, a_mail())
    await target.deliver()
    assert await states(database) == {"a": "pending"}
    assert await target.deliver() == 0  # not due yet
    assert await states(database) == {"a": "pending"}
    for state in ("pending", "failed"):
        await be_due(database)
        await target.deliver()
        assert await states(database) == {"a": state}
    assert (await row_of(database, "a")).text == ""


@pytest.mark.sqlite
async def test_a_link_that_expired_is_not_sent(database: Database):
    lives = Lifetimes(link_seconds=0, invitation_seconds=0, quiet_seconds=9)
    target = box(database, sender := Scripted(), lifetimes=lives)
    await put(database, target, a_mail())
    assert await target.deliver() == 0
    assert (sender.sent, await states(database)) == ([], {"a": "failed"})
    row = await row_of(database, "a")
    assert (row.text, row.html) == ("", "")
    assert "expired" in row.reason


@pytest.mark.sqlite
async def test_a_notice_that_is_too_old_is_not_sent_and_says_so(database: Database):
    target = box(database, sender := Scripted())
    long_ago = datetime.now(UTC) - timedelta(days=3)
    async with database.write() as connection:
        await target.put_all(connection, [(a_mail("a", "notice"), long_ago)])
    assert await target.deliver() == 0
    row = await row_of(database, "a")
    assert (sender.sent, row.state, row.reason) == ([], "failed", outbox_module.TOO_OLD)
    async with database.write() as connection:
        with pytest.raises(upkeep.CannotRetry, match="too old"):
            await upkeep.retry(connection, row.id, lifetime=timedelta(days=1))


@pytest.mark.sqlite
async def test_a_notice_that_may_have_arrived_is_sent_again(database: Database):
    """Twice is better than never; a launch mail is the other way round."""
    target = box(database, sender := Scripted(MailLost("broken")))
    async with database.write() as connection:
        await target.put_all(connection, [(a_mail("a", "notice"), datetime.now(UTC))])
    await target.deliver()
    await be_due(database)
    assert await target.deliver() == 1
    assert sender.sent == ["a"]


@pytest.mark.sqlite
async def test_a_launch_mail_outlives_two_days_of_outage(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """Tried 15 seconds later, then at twice the time up to an hour, until two days are over."""
    no = MailRefused("later", for_good=False)
    target = box(database, Scripted(*[no] * 100))
    await put(database, target, a_mail(kind="launch"))
    put_at = (await row_of(database, "a")).due_at
    waits, waited = [], timedelta(0)
    logs = structlog.testing.LogCapture()
    monkeypatch.setattr(outbox_module, "log", structlog.wrap_logger(None, processors=[logs]))
    while (await states(database)) == {"a": "pending"}:
        await target.deliver()
        wait = (await row_of(database, "a")).due_at - datetime.now(UTC)
        waits.append(wait)
        waited += wait
        async with database.write() as connection:  # so long as the outage has lasted by then
            await connection.execute(
                update(outbox).values(
                    due_at=datetime.now(UTC), give_up_at=put_at + timedelta(days=2) - waited
                )
            )
    assert [round(wait.total_seconds()) for wait in waits[:3]] == [15, 30, 60]
    assert max(waits) <= timedelta(hours=1)
    assert timedelta(hours=46) < waited < timedelta(hours=49)
    assert 40 < len(waits) < 70
    assert (await row_of(database, "a")).text  # an operator may try it again
    said = [(entry["log_level"], entry["reason"]) for entry in logs.entries]
    assert said == [("warning", "later"), ("error", "later")]
    assert "example.org" not in str(logs.entries)


@pytest.mark.sqlite
async def test_refused_for_good_is_not_tried_again(database: Database):
    target = box(database, Scripted(MailRefused("never", for_good=True)))
    await put(database, target, a_mail())
    await target.deliver()
    assert await states(database) == {"a": "failed"}


@pytest.mark.sqlite
async def test_a_link_lost_on_the_way_is_not_tried_for_ever(database: Database):
    target = box(database, Scripted(*[MailLost("?")] * 9))
    await put(database, target, a_mail())
    for _ in range(3):
        await target.deliver()
        await be_due(database)
    assert await states(database) == {"a": "failed"}


@pytest.mark.sqlite
async def test_lost_on_the_way_a_launch_mail_is_never_sent_again(database: Database):
    target = box(database, Scripted(MailLost("?"), MailLost("?")))
    await put(database, target, a_mail("link"), a_mail("launch", kind="launch"))
    await target.deliver()
    assert await states(database) == {"link": "pending", "launch": "unknown"}


async def test_a_process_that_died_while_sending(database: Database):
    """The one that was being handed over is unknown; those behind it were not touched."""
    for ref, kind in (("link", "sign_in"), ("launch", "launch")):
        target = box(database, Scripted(Died()))
        await put(database, target, a_mail(ref, kind=kind))
        with pytest.raises(Died):
            await target.deliver()
    await put(database, target, a_mail("next", kind="launch"))
    assert await states(database) == {"link": "sending", "launch": "sending", "next": "pending"}
    await be_due(database)
    sender = Scripted()
    assert await box(database, sender).deliver() == 2
    assert sender.sent == ["link", "next"]
    assert await states(database) == {"link": "sent", "launch": "unknown", "next": "sent"}


async def test_a_process_that_slept_undoes_nothing(database: Database):
    """Its lease ran out and another sent the link; its own refusal comes too late to matter."""
    other = Scripted()

    class Sleepy:
        async def send(self, mail: Mail, message_id: str) -> None:  # noqa: ARG002
            await be_due(database)
            assert await box(database, other).deliver() == 1
            raise MailRefused("later", for_good=False)

    target = box(database, Sleepy())
    await put(database, target, a_mail())
    await target.deliver()
    assert other.sent == ["a"]
    assert await states(database) == {"a": "sent"}


@pytest.mark.sqlite
async def test_a_clean_stop_loses_nothing(database: Database, mailbox: Mailbox):
    """In the middle of a slow server's answer: that mail is finished with, the others wait."""
    target = box(database, SmtpSender(mailbox.url, sender="no-reply@gateway.example"))
    await put(database, target, *(a_mail(ref, kind="launch") for ref in "abc"))
    mailbox.hold.clear()
    jobs = Jobs([Job("mail", 0.001, target.deliver)])
    await jobs.start()
    await asyncio.to_thread(mailbox.asked.wait, 10)
    stopping = asyncio.create_task(jobs.stop())
    await asyncio.sleep(0)
    mailbox.hold.set()
    await stopping
    assert len(mailbox.messages) == 1
    assert await states(database) == {"a": "sent", "b": "pending", "c": "pending"}


@pytest.mark.sqlite
async def test_a_turn_ends_before_its_job_is_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    assert outbox_module.TURN_SECONDS + smtp.SEND_SECONDS < JOB_SECONDS
    target = box(database, sender := Scripted())
    await put(database, target, a_mail("1", kind="launch"), a_mail("2", kind="launch"))
    clock = iter([0.0, 0.0, outbox_module.TURN_SECONDS])
    monkeypatch.setattr(outbox_module, "monotonic", lambda: next(clock))
    assert await target.deliver() == 1
    assert sender.sent == ["1"]
    assert await states(database) == {"1": "sent", "2": "pending"}


async def test_links_go_before_launch_mails(database: Database):
    target = box(database, sender := Scripted())
    await put(database, target, *(a_mail(f"{n}", kind="launch") for n in range(4)))
    await put(database, target, a_mail("link"))  # also: launch mails take nobody's place
    await target.deliver()
    assert sender.sent[0] == "link"


async def test_a_flood_to_strangers_keeps_nobody_from_signing_in(database: Database):
    target = box(database, sender := Scripted())
    await put(database, target, *(a_mail(f"{n}", for_stranger=True) for n in range(3)))
    with pytest.raises(OutboxFull):
        await put(database, target, a_mail("4", for_stranger=True))
    await put(database, target, a_mail("theirs"))
    await target.deliver()
    assert sender.sent == ["theirs", "0", "1", "2"]


async def test_one_slow_mail_holds_up_no_other(database: Database):
    slow = asyncio.Event()

    class Sender(Scripted):
        async def send(self, mail: Mail, message_id: str) -> None:
            if mail.ref == "slow":
                await slow.wait()
            await super().send(mail, message_id)
            if mail.ref == "last":
                slow.set()

    target = box(database, sender := Sender(), senders=2)
    await put(database, target, a_mail("slow"), a_mail("next"), a_mail("last"))
    assert await target.deliver() == 3
    assert sender.sent == ["next", "last", "slow"]


async def test_a_mail_that_nothing_can_send_holds_up_no_other(database: Database, mailbox: Mailbox):
    target = box(database, SmtpSender(mailbox.url, sender="no-reply@g.example"))
    broken = msgspec.structs.replace(a_mail("broken"), subject="two\nlines")
    await put(database, target, broken, a_mail("good"))
    assert await target.deliver() == 1
    assert await states(database) == {"broken": "failed", "good": "sent"}


async def test_a_sender_that_fails_for_one_mail_sends_the_next(database: Database):
    sender = Scripted(ZeroDivisionError("a bug"))
    target = box(database, sender, senders=1)
    await put(database, target, a_mail("first"), a_mail("second"))
    assert await target.deliver() == 1
    assert await states(database) == {"first": "pending", "second": "sent"}
    assert "a bug" in (await row_of(database, "first")).reason


async def test_who_unsubscribes_gets_no_later_wave(database: Database):
    target = box(database, sender := Scripted())
    await put(database, target, a_mail("launch", kind="launch"), a_mail("link"))
    async with database.write() as connection:
        await unsubscribe.add(connection, "ada@example.org")
    await target.deliver()
    assert sender.sent == ["link"]  # what one asks for still comes
    assert await states(database) == {"launch": "failed", "link": "sent"}
    assert "unsubscribed" in (await row_of(database, "launch")).reason


async def test_what_waits_is_bounded(database: Database):
    """Also what is tried again later, and the next one is refused."""
    target = box(database, Scripted(MailRefused("later", for_good=False)))
    await put(database, target, a_mail("1"))
    await target.deliver()
    await put(database, target, a_mail("2"), a_mail("3"))
    with pytest.raises(OutboxFull):
        await put(database, target, a_mail("4"))


async def test_what_is_over_with_is_emptied_and_later_gone(database: Database):
    """Launch mails that failed keep their text while they can be tried again, and all their ref."""
    no = MailRefused("never", for_good=True)
    put_in = {"sent": "launch", "failed": "launch", "waits": "launch", "old": "sign_in"}
    target = box(database, Scripted(None, no, no), pending_max=9)
    for ref, kind in put_in.items():
        await put(database, target, a_mail(ref, kind=kind))
        if ref != "waits":
            await target.deliver()
        else:
            async with database.write() as connection:
                later = datetime.now(UTC) + timedelta(days=1)
                await connection.execute(
                    update(outbox).where(outbox.c.ref == ref).values(due_at=later)
                )

    async def after(days: int, *refs: str) -> dict[str, str]:
        async with database.write() as connection:
            past = datetime.now(UTC) - timedelta(days=days)
            await connection.execute(
                update(outbox).where(outbox.c.ref.in_(refs)).values(due_at=past)
            )
            await upkeep.forget_old(connection)
            return {row.ref: row.text for row in await connection.execute(select(outbox))}

    assert await after(0, "old") == {"sent": "", "failed": "t", "waits": "t", "old": ""}
    assert await after(8, *put_in) == {"sent": "", "failed": "", "waits": "t"}
    assert await after(93, *put_in) == {"waits": "t"}


async def test_an_address_of_an_earlier_version_is_given_up(mailbox: Mailbox):
    mail = msgspec.structs.replace(a_mail(), recipient="=?utf-8?q?=c3=a9?=@example.org")
    with pytest.raises(MailRefused) as refused:
        await SmtpSender(mailbox.url, sender="no-reply@g.example").send(mail, "<1@g.example>")
    assert refused.value.for_good


async def test_notices_leave_after_links_and_before_launches_and_block_neither(database: Database):
    sender = Scripted()
    target = box(database, sender, pending_max=1)
    kinds = {"launch": "launch", "notice": "notice", "link": "sign_in"}
    now = datetime.now(UTC)
    async with database.write() as connection:
        for ref in ("launch", "notice"):
            await target.put_all(connection, [(a_mail(ref, kinds[ref]), now)])
        assert await target.waiting(connection, ("notice",)) == 1
        await target.put(connection, a_mail("link", kinds["link"]))  # there is still room for one
        with pytest.raises(OutboxFull):
            await target.put(connection, a_mail("another", "sign_in"))
    await target.deliver()
    assert sender.sent == ["link", "notice", "launch"]
