"""Hands mails to an SMTP server or, in development, to the log.

A server accepts a mail, refuses it (permanently or for now), or the connection breaks and nobody
knows. The outbox treats the three differently. A mail is accepted with the 250 after its text,
whatever happens later; it can be lost only after the server has asked for the text (354).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formatdate, parseaddr
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog

from gateway.control_plane.mail.messages import Mail
from gateway.networks import is_loopback
from gateway.settings import SettingsError

log = structlog.get_logger()

SEND_SECONDS = 15.0
"""Limit for handing over one mail, all steps together."""

_STEP_SECONDS = 8.0
_PORTS = {"smtp": 587, "smtps": 465}
_OPPORTUNISTIC = "tls=opportunistic"
_GO_AHEAD = 354
_TAKEN = 250
_PERMANENT = 500
_AUTHENTICATION = (530, 534, 535, 538)
_NO_TLS = "STARTTLS extension not supported"
_LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)


class MailRefused(Exception):
    """The server did not accept a mail; `for_good` means that another try is pointless."""

    def __init__(self, reason: str, *, for_good: bool) -> None:
        super().__init__(reason)
        self.for_good = for_good


class MailLost(Exception):
    """The connection broke after the text was sent: the mail may have arrived."""


class Sender(Protocol):
    """Sends one mail."""

    async def send(self, mail: Mail, message_id: str) -> None:
        """Send a mail. Raises MailRefused or MailLost."""
        ...


class LogSender:
    """Logs mails: development on one machine, without a mail server."""

    async def send(self, mail: Mail, message_id: str) -> None:
        """Log a mail with its text."""
        log.info("mail", to=mail.recipient, subject=mail.subject, text=mail.text, id=message_id)


class NullSender:
    """Used when no mail server is configured: mails wait, with a reason that says so."""

    async def send(self, mail: Mail, message_id: str) -> None:
        """Refuse every mail for now."""
        raise MailRefused(f"GATEWAY_SMTP_URL is not set: {mail.kind} {message_id}", for_good=False)


class SmtpSender:
    """Sends through a server: one connection per mail, with TLS unless the server is local."""

    def __init__(self, url: str, *, sender: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise SettingsError("GATEWAY_SMTP_URL: use smtp://user:password@host:587 or smtps://")
        if parts.query not in ("", _OPPORTUNISTIC):
            raise SettingsError(f"GATEWAY_SMTP_URL: after ? there can only be {_OPPORTUNISTIC}")
        self._tls = parts.scheme == "smtps"
        self._context = ssl.create_default_context()
        # links that sign people in, and a password, never travel where others could read them
        is_opportunistic = parts.query == _OPPORTUNISTIC and not parts.username
        self._needs_tls = not (is_opportunistic or is_loopback(parts.hostname))
        self._host = parts.hostname
        self._port = parts.port or _PORTS[parts.scheme]
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._sender = sender

    async def send(self, mail: Mail, message_id: str) -> None:
        """Hand a mail to the server within SEND_SECONDS. Raises MailRefused or MailLost."""
        try:
            message = mime(mail, self._sender, message_id)
            text = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
            mail.recipient.encode("ascii")
        except ValueError as error:  # an address or a name that an earlier version accepted
            raise MailRefused(_reason(error), for_good=True) from None
        session = self._session()
        deadline = asyncio.get_running_loop().time() + SEND_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                await session.connect()
                await session.hand_over(parseaddr(self._sender)[1], mail.recipient, text)
        except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:
            answered = isinstance(error, aiosmtplib.SMTPResponseException)
            if session.is_handed_over and not answered:
                raise MailLost(_reason(error)) from None
            raise MailRefused(_reason(error), for_good=_is_for_good(error)) from None
        finally:
            with contextlib.suppress(Exception):  # what became of the mail is known already
                async with asyncio.timeout_at(deadline):
                    await session.quit()
            session.close()

    async def greet(self) -> bool:
        """Connect, sign in and leave without sending a mail; return whether TLS is on.

        Raises MailRefused.
        """
        session = self._session()
        try:
            await session.connect()
            encrypted = session.get_transport_info("cipher") is not None
            await session.quit()
        except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:
            raise MailRefused(_reason(error), for_good=False) from None
        finally:
            session.close()
        return encrypted

    def _session(self) -> _Session:
        return _Session(
            hostname=self._host,
            port=self._port,
            username=self._user or None,
            password=self._password,
            timeout=_STEP_SECONDS,
            use_tls=self._tls,
            # None: STARTTLS where it is offered; True: fail where it is not
            start_tls=True if self._needs_tls and not self._tls else None,
            tls_context=self._context,
        )


class _Session(aiosmtplib.SMTP):
    """A connection for one mail, which knows whether the server has asked for the text."""

    is_handed_over = False

    async def hand_over(self, sender: str, recipient: str, text: bytes) -> None:
        """Send a mail's envelope and its text, in lines that end with CRLF.

        Not with `send_message`, which does not tell a break before the 354 from one after it.
        """
        await self.mail(sender)
        await self.rcpt(recipient)
        answer = await self.execute_command(b"DATA")
        if answer.code != _GO_AHEAD:
            raise aiosmtplib.SMTPDataError(answer.code, answer.message)
        if self.protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        self.is_handed_over = True
        self.protocol.write(_LEADING_DOT.sub(b"..", text) + b".\r\n")
        answer = await self.protocol.read_response(timeout=_STEP_SECONDS)
        if answer.code != _TAKEN:
            raise aiosmtplib.SMTPDataError(answer.code, answer.message)


def _is_for_good(error: Exception) -> bool:
    """Tell whether a refusal is about the recipient or the mail, not our own configuration."""
    return (
        isinstance(error, (aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError))
        and error.code >= _PERMANENT
        and error.code not in _AUTHENTICATION
    )


def _reason(error: Exception) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {error.message}"
    if type(error) is TimeoutError:
        return "the mail server is too slow"
    if _NO_TLS in str(error):
        return (
            "the mail server offers no STARTTLS, so mail could be read on its way; for a relay on "
            f"a network of your own, add ?{_OPPORTUNISTIC} to GATEWAY_SMTP_URL"
        )
    return f"{type(error).__name__}: {error}"


class _Policy(EmailPolicy):
    """Does not fold headers that programs read: folding would encode a long address as words."""

    _AS_IT_IS = ("to", "message-id", "list-unsubscribe")

    def fold_binary(self, name: str, value: str) -> bytes:
        """Return a header as it goes over the wire."""
        if name.lower() in self._AS_IT_IS:
            return f"{name}: {value}{self.linesep}".encode("ascii")
        return super().fold_binary(name, value)


def mime(mail: Mail, sender: str, message_id: str) -> EmailMessage:
    """Build the message that is sent: plain text and HTML, with unsubscribe headers (RFC 8058)."""
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
