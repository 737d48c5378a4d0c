"""Handing a mail to an SMTP server, and in development to the log.

A mail server's answer is one of three: taken, refused (for good or for now), or lost on the way, in
which case nobody knows. The outbox treats them differently, so they are told apart here.
"""

from __future__ import annotations

import asyncio
import smtplib
from email.message import EmailMessage
from email.utils import formatdate
from typing import Protocol
from urllib.parse import unquote, urlsplit

import structlog

from gateway.control_plane.mail.messages import Mail
from gateway.settings import SettingsError

log = structlog.get_logger()

_TIMEOUT_SECONDS = 8.0
_PORTS = {"smtp": 587, "smtps": 465}
_PERMANENT = 500


class MailRefused(Exception):
    """The server did not take a mail; `for_good` when trying again is pointless."""

    def __init__(self, reason: str, *, for_good: bool) -> None:
        super().__init__(reason)
        self.for_good = for_good


class MailLost(Exception):
    """The connection broke after the mail went out: it may have arrived."""


class Sender(Protocol):
    """Sends one mail."""

    async def send(self, mail: Mail, message_id: str) -> None:
        """Hand it over. Raises MailRefused or MailLost."""
        ...


class LogSender:
    """Prints mails: development on one machine, without a mail server."""

    async def send(self, mail: Mail, message_id: str) -> None:
        """Print it."""
        log.info("mail", to=mail.recipient, subject=mail.subject, text=mail.text, id=message_id)


class NullSender:
    """Stands where no mail server is configured: mails wait, and say why."""

    async def send(self, mail: Mail, message_id: str) -> None:
        """Refuse; see `Sender.send`."""
        raise MailRefused(f"GATEWAY_SMTP_URL is not set: {mail.kind} {message_id}", for_good=False)


class SmtpSender:
    """Sends through a server, one connection a mail, TLS where the server has it."""

    def __init__(self, url: str, *, sender: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise SettingsError("GATEWAY_SMTP_URL: use smtp://user:password@host:587 or smtps://")
        self._tls = parts.scheme == "smtps"
        self._host = parts.hostname
        self._port = parts.port or _PORTS[parts.scheme]
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._sender = sender

    async def send(self, mail: Mail, message_id: str) -> None:
        """Hand it over; see `Sender.send`."""
        await asyncio.to_thread(self._send, mime(mail, self._sender, message_id))

    def _send(self, message: EmailMessage) -> None:
        sent = False
        try:
            with self._connect() as server:
                sent = True  # from here on a broken connection leaves the outcome open
                server.send_message(message)
        except smtplib.SMTPResponseException as error:
            # a refused password is our mistake, and no reason to give up on a mail
            for_good = sent and error.smtp_code >= _PERMANENT
            raise MailRefused(str(error.smtp_error), for_good=for_good) from None
        except smtplib.SMTPRecipientsRefused as error:
            code, reason = next(iter(error.recipients.values()))
            raise MailRefused(str(reason), for_good=code >= _PERMANENT) from None
        except (smtplib.SMTPException, OSError) as error:
            if sent:
                raise MailLost(str(error)) from None
            raise MailRefused(f"{type(error).__name__}: {error}", for_good=False) from None

    def _connect(self) -> smtplib.SMTP:
        kind = smtplib.SMTP_SSL if self._tls else smtplib.SMTP
        server = kind(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        try:
            server.ehlo()
            if not self._tls and server.has_extn("starttls"):
                server.starttls()
            if self._user:
                server.login(self._user, self._password)
        except BaseException:
            server.close()
            raise
        return server


def mime(mail: Mail, sender: str, message_id: str) -> EmailMessage:
    """Make the message as it goes over the wire."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Date"] = formatdate()
    message["Message-ID"] = message_id
    if mail.unsubscribe_url:
        message["List-Unsubscribe"] = f"<{mail.unsubscribe_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    else:
        message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message
