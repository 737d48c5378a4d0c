"""SMTP: a mail arrives over a real server, or the refusal says for how long."""

import asyncio
from email.message import EmailMessage

import msgspec
import pytest

from gateway.control_plane.accounts import addresses
from gateway.control_plane.mail import smtp, unsubscribe
from gateway.control_plane.mail.smtp import MailLost, MailRefused, SmtpSender
from gateway.keyring import Keyring
from gateway.settings import SettingsError
from testing.mailbox import Mailbox
from tests.control_plane.mail.conftest import a_mail


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
    url = unsubscribe.Unsubscriptions(secret=Keyring("s" * 32), public_url="https://g.example").url(
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
        with pytest.raises(addresses.BadAddress, match="not a valid email address"):
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

    with pytest.raises(SettingsError, match="tls=opportunistic"):
        SmtpSender("smtp://host?tls=none", sender="x@y.org")


@pytest.mark.parametrize(
    ("user", "options"), [("", ""), ("ada:secret@", ""), ("ada:secret@", "?tls=opportunistic")]
)
async def test_nothing_leaves_the_machine_without_tls(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, user: str, options: str
):
    url = mailbox.url.replace("smtp://", f"smtp://{user}") + options
    monkeypatch.setattr(smtp, "is_loopback", lambda _host: False)
    with pytest.raises(MailRefused, match=r"add \?tls=opportunistic") as refused:
        await SmtpSender(url, sender="no-reply@gateway.example").send(a_mail(), "<1@x>")
    assert not refused.value.for_good  # the operator mends it, and it leaves
    assert mailbox.messages == []


async def test_a_relay_on_a_network_of_ones_own_may_lack_tls(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(smtp, "is_loopback", lambda _host: False)
    sender = SmtpSender(f"{mailbox.url}?tls=opportunistic", sender="no-reply@gateway.example")
    await sender.send(a_mail(), "<1@x>")
    assert len(mailbox.messages) == 1
