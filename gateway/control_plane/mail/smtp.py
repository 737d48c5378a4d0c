"""Handing a mail to an SMTP server, and in development to the log.

A mail server's answer is one of three: taken, refused (for good or for now), or lost on the way, in
which case nobody knows. The outbox treats them differently, so they are told apart here. A mail is
taken with the 250 after its text, whatever comes later; it can be lost only after the server asked
for its text (354).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import smtplib
import ssl
import time
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formatdate
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import structlog

from gateway.control_plane.mail.messages import Mail
from gateway.settings import SettingsError

log = structlog.get_logger()

SEND_SECONDS = 15.0
"""Longest that handing one mail over takes, all its steps together."""

_STEP_SECONDS = 8.0
_PORTS = {"smtp": 587, "smtps": 465}
_GO_AHEAD = 354
_PERMANENT = 500
_AUTHENTICATION = (530, 534, 535, 538)


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
        self._context = ssl.create_default_context()
        # a password, and links that sign people in, go nowhere where somebody could read along
        self._needs_tls = bool(parts.username) and not _is_loopback(parts.hostname)
        self._host = parts.hostname
        self._port = parts.port or _PORTS[parts.scheme]
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._sender = sender

    async def send(self, mail: Mail, message_id: str) -> None:
        """Hand it over; see `Sender.send`."""
        message = mime(mail, self._sender, message_id)
        await asyncio.to_thread(self._send, message, mail.recipient)

    def _send(self, message: EmailMessage, recipient: str) -> None:
        try:
            server = self._connect()
        except (smtplib.SMTPException, OSError) as error:
            # a refused password is our mistake too, and no reason to give up on a mail
            raise MailRefused(_reason(error), for_good=False) from None
        try:
            server.send_message(message, to_addrs=[recipient])
        except UnicodeError as error:  # an address that was taken on by an earlier version
            raise MailRefused(_reason(error), for_good=True) from None
        except (smtplib.SMTPException, OSError) as error:
            if _is_lost(error) and server.is_handed_over:
                raise MailLost(_reason(error)) from None
            raise MailRefused(_reason(error), for_good=_is_for_good(error)) from None
        finally:
            _leave(server)

    def _connect(self) -> _Session:
        kind = _TlsSession if self._tls else _Session
        tls = {"context": self._context} if self._tls else {}
        server = kind(self._host, self._port, timeout=_STEP_SECONDS, **tls)
        try:
            server.ehlo()
            if not self._tls and (server.has_extn("starttls") or self._needs_tls):
                server.starttls(context=self._context)  # raises where it is not offered
            if self._user:
                server.login(self._user, self._password)
        except BaseException:
            server.close()
            raise
        return server


class _Session(smtplib.SMTP):
    """One mail's talk with a server. It ends within SEND_SECONDS, however slowly each step goes."""

    def __init__(self, *where: Any, **options: Any) -> None:
        self._ends = time.monotonic() + SEND_SECONDS
        self.is_handed_over = False
        super().__init__(*where, **options)

    def send(self, s: Any) -> None:
        """Write, within what is left of the time."""
        self._hurry()
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        """Read an answer, within what is left of the time."""
        self._hurry()
        code, text = super().getreply()
        if code == _GO_AHEAD:
            self.is_handed_over = True
        return code, text

    def _hurry(self) -> None:
        left = self._ends - time.monotonic()
        if left <= 0:
            self.close()
            raise TimeoutError("the mail server is too slow")
        if self.sock is not None:
            self.sock.settimeout(min(_STEP_SECONDS, left))


class _TlsSession(_Session, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _leave(server: _Session) -> None:
    """Say goodbye; whatever comes back, what became of the mail is known already."""
    with contextlib.suppress(Exception):
        server.quit()
    server.close()


def _is_lost(error: Exception) -> bool:
    """Tell whether a server that has a mail said nothing about it."""
    answers = (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)
    return not isinstance(error, (*answers, smtplib.SMTPNotSupportedError))


def _is_for_good(error: Exception) -> bool:
    """Tell whether a refusal is about the recipient or the mail, and not about us."""
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return True  # an address that this server has no letters for
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
    elif isinstance(error, smtplib.SMTPDataError):
        codes = [error.smtp_code]
    else:  # the sender, the greeting: our own configuration, which somebody will mend
        return False
    return all(code >= _PERMANENT and code not in _AUTHENTICATION for code in codes)


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, said = next(iter(error.recipients.values()))
        return f"{code} {_text(said)}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return f"{type(error).__name__}: {error}"


def _text(said: bytes | str) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said


class _Policy(EmailPolicy):
    """Leaves alone what programs read: folded, a long address of ours would be encoded as words."""

    _AS_IT_IS = ("to", "message-id", "list-unsubscribe")

    def fold_binary(self, name: str, value: str) -> bytes:
        """Return a header's line or lines."""
        if name.lower() in self._AS_IT_IS:
            return f"{name}: {value}{self.linesep}".encode("ascii")
        return super().fold_binary(name, value)


def mime(mail: Mail, sender: str, message_id: str) -> EmailMessage:
    """Make the message as it goes over the wire."""
    message = EmailMessage(policy=_Policy())
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
