"""Mail: over a real SMTP server, once, within bounds, and ended with one click."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import msgspec
import pytest
import structlog
from sqlalchemy import select, update

from gateway.app.jobs import TIMEOUT_SECONDS, Jobs
from gateway.app.process import Process
from gateway.control_plane.accounts import addresses
from gateway.control_plane.mail import outbox as outbox_module
from gateway.control_plane.mail import smtp, unsubscribe, upkeep
from gateway.control_plane.mail.messages import Mail, MailWriter, plain
from gateway.control_plane.mail.outbox import Lifetimes, Outbox, OutboxFull
from gateway.control_plane.mail.smtp import MailLost, MailRefused, SmtpSender
from gateway.settings import SettingsError
from gateway.storage.database import Database
from gateway.storage.tables import outbox
from gateway.wings import Job
from testing.browsing import Browser
from testing.mailbox import Mailbox

LIVES = Lifetimes(link_seconds=60, invitation_seconds=60, once_seconds=172_800)


@pytest.fixture
def mailbox():
    with Mailbox() as opened:
        yield opened


def a_mail(ref: str = "a", kind: str = "sign_in", unsubscribe_url: str = "") -> Mail:
    return Mail(
        ref=ref, kind=kind, recipient="ada@example.org", subject="Hä?", text="t", html="<p>h</p>",
        unsubscribe_url=unsubscribe_url,
    )  # fmt: skip


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


async def be_due(database: Database) -> None:
    async with database.write() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await connection.execute(update(outbox).values(due_at=past))


async def test_a_mail_arrives_in_both_forms_with_one_click(mailbox: Mailbox):
    sender = SmtpSender(mailbox.url, sender="no-reply@gateway.example")
    await sender.send(a_mail(unsubscribe_url="https://g.example/u/1"), "<1@g.example>")
    await sender.send(a_mail(), "<2@g.example>")
    first, second = mailbox.messages
    assert first["From"] == "no-reply@gateway.example"
    assert first["To"] == "ada@example.org"
    assert first["Subject"] == "Hä?"
    assert first["Message-ID"] == "<1@g.example>"
    assert first["List-Unsubscribe"] == "<https://g.example/u/1>"
    assert first["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert [part.get_content_type() for part in first.iter_parts()] == ["text/plain", "text/html"]
    assert "List-Unsubscribe" not in second
    assert isinstance(first, EmailMessage)


async def test_what_programs_read_in_a_mail_is_never_folded(mailbox: Mailbox):
    recipient = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.example.org"
    url = unsubscribe.Unsubscriptions(secret="s" * 32, public_url="https://g.example").url(
        recipient
    )
    name = "Ein sehr langer Name für ein Tor, hinter dem Vektoren wohnen " * 2
    mail = msgspec.structs.replace(
        a_mail(unsubscribe_url=url), recipient=recipient, subject=name.strip()
    )
    await SmtpSender(mailbox.url, sender="no-reply@g.example").send(mail, f"<{'1' * 90}@g.example>")
    lines = mailbox.wire[0].decode("ascii").split("\r\n")
    assert f"To: {recipient}" in lines
    assert f"List-Unsubscribe: <{url}>" in lines
    assert f"Message-ID: <{'1' * 90}@g.example>" in lines
    assert mailbox.messages[0]["Subject"] == mail.subject
    assert max(len(line) for line in lines if "=?" in line) <= 78


@pytest.mark.parametrize(
    ("command", "answer", "for_good"),
    [
        ("DATA", "451 later", False),
        ("DATA", "550 never", True),
        ("RCPT", "450 later", False),
        ("RCPT", "550 nobody here", True),
        ("RCPT", "530 authentication required", False),
        ("MAIL", "550 not from you", False),  # our own configuration, which somebody mends
        ("MAIL", "530 authentication required", False),
        ("MAIL", None, False),  # the line broke, but the server had no mail yet
    ],
)
async def test_a_server_says_no_for_now_or_for_good(
    mailbox: Mailbox, command: str, answer: str | None, for_good: bool
):
    mailbox.answers[command] = answer
    with pytest.raises(MailRefused) as refused:
        await SmtpSender(mailbox.url, sender="no-reply@gateway.example").send(a_mail(), "<1@x>")
    assert refused.value.for_good is for_good
    assert (answer or "") in str(refused.value)


async def test_an_address_that_is_taken_on_can_be_written_to(mailbox: Mailbox):
    """The server here knows no SMTPUTF8, as most don't."""
    sender = SmtpSender(mailbox.url, sender="no-reply@gateway.example")
    for typed, email in (
        ("Ada@Bücher.de", "ada@xn--bcher-kva.de"),
        ("ada@xn--bcher-kva.de", "ada@xn--bcher-kva.de"),
    ):
        address = addresses.parse(typed)
        assert address.email == address.key == email
        await sender.send(msgspec.structs.replace(a_mail(), recipient=address.email), "<1@x>")
        assert mailbox.messages[-1]["To"] == email
    with pytest.raises(addresses.BadAddress, match="before the @"):
        addresses.parse("grüße@example.org")
    for other_name_of_ada in ("=?utf-8?q?ada?=@gmail.com", "x=?us-ascii?q?=61da?=@gmail.com"):
        with pytest.raises(addresses.BadAddress, match="not a valid mail address"):
            addresses.parse(other_name_of_ada)
    with pytest.raises(MailRefused) as refused:  # one that stands in a database from before
        await sender.send(msgspec.structs.replace(a_mail(), recipient="grüße@example.org"), "<1@x>")
    assert refused.value.for_good


@pytest.mark.parametrize("answer", ["421 too busy", "500 what?", None])
async def test_after_the_250_nothing_matters(mailbox: Mailbox, answer: str | None):
    mailbox.answers["QUIT"] = answer
    await SmtpSender(mailbox.url, sender="no-reply@gateway.example").send(a_mail(), "<1@x>")
    assert len(mailbox.messages) == 1


async def test_a_line_that_breaks_after_the_text_leaves_it_open(mailbox: Mailbox):
    mailbox.answers["DATA"] = None
    with pytest.raises(MailLost):
        await SmtpSender(mailbox.url, sender="no-reply@gateway.example").send(a_mail(), "<1@x>")


async def test_a_line_that_breaks_before_the_text_loses_nothing():
    """The server hangs up at DATA: it can't have the mail, so a launch mail may be tried again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while not (await reader.readline()).startswith(b"DATA"):
            writer.write(b"250 OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(MailRefused) as refused:
            await SmtpSender(f"smtp://127.0.0.1:{port}", sender="x@y.org").send(a_mail(), "<1@x>")
    assert not refused.value.for_good


async def test_a_dot_that_begins_a_line_arrives(mailbox: Mailbox):
    mail = msgspec.structs.replace(a_mail(), text="one\n.two\n..three\n.\nfour")
    await SmtpSender(mailbox.url, sender="no-reply@gateway.example").send(mail, "<1@x>")
    body = mailbox.messages[0].get_body(("plain",))
    assert body is not None
    assert body.get_content().splitlines() == mail.text.splitlines()


async def test_a_mail_takes_only_so_long(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(smtp, "SEND_SECONDS", 0.0)
    with pytest.raises(MailRefused, match="too slow") as refused:
        await SmtpSender(mailbox.url, sender="no-reply@gateway.example").send(a_mail(), "<1@x>")
    assert not refused.value.for_good


async def test_a_server_that_is_not_there_is_a_refusal_for_now():
    with pytest.raises(MailRefused) as refused:
        await SmtpSender("smtp://127.0.0.1:1", sender="x@y.org").send(a_mail(), "<1@x>")
    assert not refused.value.for_good


def test_an_address_of_a_mail_server_is_checked():
    with pytest.raises(SettingsError, match="GATEWAY_SMTP_URL"):
        SmtpSender("http://host", sender="x@y.org")


async def test_the_same_mail_is_sent_once(database: Database):
    sender = Scripted()
    target = box(database, sender)
    await put(database, target, a_mail("a"), a_mail("a"), a_mail("b"))
    await asyncio.gather(target.deliver(), box(database, sender).deliver())
    assert await target.deliver() == 0
    assert sorted(sender.sent) == ["a", "b"]


async def test_a_text_with_a_link_is_forgotten_once_it_left(database: Database):
    await put(database, target := box(database, Scripted()), a_mail())
    await target.deliver()
    async with database.read() as connection:
        row = (await connection.execute(select(outbox))).one()
    assert (row.text, row.html) == ("", "")


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


async def test_a_link_that_expired_is_not_sent(database: Database):
    lives = Lifetimes(link_seconds=0, invitation_seconds=0, once_seconds=9)
    target = box(database, sender := Scripted(), lifetimes=lives)
    await put(database, target, a_mail())
    assert await target.deliver() == 0
    assert (sender.sent, await states(database)) == ([], {"a": "failed"})
    row = await row_of(database, "a")
    assert (row.text, row.html) == ("", "")
    assert "expired" in row.reason


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


async def test_refused_for_good_is_not_tried_again(database: Database):
    target = box(database, Scripted(MailRefused("never", for_good=True)))
    await put(database, target, a_mail())
    await target.deliver()
    assert await states(database) == {"a": "failed"}


async def test_a_link_lost_on_the_way_is_not_tried_for_ever(database: Database):
    target = box(database, Scripted(*[MailLost("?")] * 9))
    await put(database, target, a_mail())
    for _ in range(3):
        await target.deliver()
        await be_due(database)
    assert await states(database) == {"a": "failed"}


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


async def test_a_turn_ends_before_its_job_is_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    assert outbox_module.TURN_SECONDS + smtp.SEND_SECONDS < TIMEOUT_SECONDS
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


def test_names_are_no_links_in_mails_however_they_are_written():
    for name in ("evil.com", "evil\u200d.com", "evil.\u200ccom", "https:\u200d//evil.\u200ccom/x"):
        assert not re.search(r"\w\W?[.:/@]\W?\w", plain(name)), name


async def test_an_address_of_an_earlier_version_is_given_up(mailbox: Mailbox):
    mail = msgspec.structs.replace(a_mail(), recipient="=?utf-8?q?=c3=a9?=@example.org")
    with pytest.raises(MailRefused) as refused:
        await SmtpSender(mailbox.url, sender="no-reply@g.example").send(mail, "<1@g.example>")
    assert refused.value.for_good


def test_names_are_text_in_mails():
    writer = MailWriter({"brand": "B", "public_url": "https://g.example"})
    mail = writer.write(
        "invitation", ref="r", recipient="a@b.org", subject="s", url="https://g.example/x",
        inviter="eve@b.org", organization="<script>alert(1)</script>", lasts="3 days",
    )  # fmt: skip
    assert "<script>" not in mail.html
    assert "&lt;script&gt;" in mail.html


async def test_one_click_needs_no_form_and_a_real_link(gateway: Process, browser: Browser):
    url = gateway.services.unsubscriptions.url("ada@example.org").removeprefix(
        "http://127.0.0.1:8080"
    )
    assert "ada@example.org" in (await browser.get(url)).text
    done = await browser.http.post(url, data={"List-Unsubscribe": "One-Click"})
    assert done.status_code == 200
    forged = url.replace(b"ada".hex(), b"eve".hex())
    assert (await browser.http.post(forged)).status_code == 404
    for nonsense in ("nonsense", "61.%C3%BC", "%00"):
        assert (await browser.get(f"/mail/unsubscribe/{nonsense}")).status_code in (400, 404)


async def test_a_password_goes_nowhere_without_tls(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
):
    url = mailbox.url.replace("smtp://", "smtp://ada:secret@")
    monkeypatch.setattr(smtp, "_is_loopback", lambda _host: False)
    with pytest.raises(MailRefused, match="STARTTLS") as refused:
        await SmtpSender(url, sender="no-reply@gateway.example").send(a_mail(), "<1@x>")
    assert not refused.value.for_good  # the operator mends it, and it leaves
    assert mailbox.messages == []


async def test_mails_are_shown_in_development_alone(browser: Browser):
    await browser.get("/sign-in")
    await browser.submit("/sign-in", email="ada@example.org")
    assert "ada@example.org" in (await browser.get("/dev/mail")).text


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, object]:
    return getattr(request, "param", {})


@pytest.mark.parametrize("options", [{"dev_mail": False}], indirect=True)
async def test_and_nowhere_else(browser: Browser):
    assert (await browser.get("/dev/mail")).status_code == 404
