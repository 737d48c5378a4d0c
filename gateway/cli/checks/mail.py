"""The mail server: it can be reached, with TLS where required, and accepts our sign-in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from gateway.cli.checks.findings import Finding, error, ok
from gateway.control_plane.mail.smtp import MailRefused, SmtpSender
from gateway.settings import Settings

ABOUT = "mail"


async def mail(settings: Settings) -> AsyncIterator[Finding]:
    """Connect, sign in and leave; no mail is sent. Without a server there are no findings."""
    if not settings.smtp_url:
        return
    parts = urlsplit(settings.smtp_url)
    where = f"{parts.hostname}:{parts.port or ''}".rstrip(":")
    sender = SmtpSender(settings.smtp_url, sender=settings.mail_from)
    try:
        encrypted = await sender.greet()
    except MailRefused as failure:
        yield error(ABOUT, f"{where}: {failure}")
        return
    how = "by TLS" if encrypted else "without TLS"
    signed_in = f", signed in as {parts.username}" if parts.username else ""
    yield ok(ABOUT, f"{where} is reached {how}{signed_in}")
