"""Makes the parts that write mails and move credit, for the service and for commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.control_plane.back_office.account_mails import AccountMails
from gateway.control_plane.back_office.approvals import Rules
from gateway.control_plane.back_office.moves import Moves
from gateway.control_plane.mail.messages import MailWriter
from gateway.control_plane.mail.outbox import Lifetimes, Outbox
from gateway.control_plane.mail.smtp import LogSender, NullSender, Sender, SmtpSender
from gateway.control_plane.web.formats import contact
from gateway.settings import Settings
from gateway.storage.database import Database

if TYPE_CHECKING:
    from gateway.app.payments import Payments


def make_mail(settings: Settings, database: Database) -> tuple[MailWriter, Outbox]:
    """Make the writer of mails, and the outbox that sends them."""
    return MailWriter(constants(settings)), _outbox(settings, database)


def make_moves(
    settings: Settings, database: Database, sold: Payments | None, mails: AccountMails
) -> Moves:
    """Make the part that moves money for operators."""
    rules = Rules(
        alone_nanos=settings.approval_dollars * 10**9,
        day_nanos=settings.operator_dollars_per_day * 10**9,
    )
    return Moves(database, sold.refunds if sold else None, mails, rules)


def constants(settings: Settings) -> dict[str, Any]:
    """Return the values that all pages and mails may use."""
    return {
        "brand": settings.brand,
        "public_url": settings.public_url,
        "support": contact(settings.support),
        "seller": settings.seller_words,
        "terms": settings.terms_address,
        "buying": bool(settings.stripe_secret_key),
        "test_mode": bool(settings.stripe_secret_key) and not settings.stripe_live,
    }


def _outbox(settings: Settings, database: Database) -> Outbox:
    sender: Sender
    if settings.smtp_url:
        sender = SmtpSender(settings.smtp_url, sender=settings.mail_from)
    elif settings.dev_mail:
        sender = LogSender()
    else:
        sender = NullSender()
    return Outbox(
        database,
        sender,
        pending_max=settings.mail_pending_max,
        lifetimes=Lifetimes(
            link_seconds=settings.mail_link_seconds,
            invitation_seconds=settings.mail_invitation_seconds,
            quiet_seconds=settings.mail_once_seconds,
        ),
        host=urlsplit(settings.public_url).hostname or "localhost",
        senders=settings.mail_senders,
        keep_text=settings.dev_mail,
    )
