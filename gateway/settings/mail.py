"""The mail that is sent, and the links in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import SECRET, Count, Seconds, text


@dataclass(frozen=True, kw_only=True)
class MailSettings:
    """The mail that is sent, and the links in it."""

    smtp_url: Annotated[
        str,
        SECRET,
        text(
            "The server that sends email: smtp://user:password@host:587, or smtps:// for TLS "
            "from the first byte. A server on another machine must offer STARTTLS; for a relay "
            "without it on your own network, add ?tls=opportunistic. Empty: nobody can sign in "
            "by email, unless GATEWAY_DEV_MAIL is set."
        ),
    ] = ""
    mail_from: Annotated[str, text("The sender of all emails.")] = "no-reply@localhost"
    dev_mail: Annotated[
        bool, text("For development: sign-in links are logged, and /dev/mail shows all emails.")
    ] = False
    mail_pending_max: Annotated[
        Count,
        text(
            "Most unsent mails that people wait for, and as many to addresses without an account; "
            "beyond it, 503."
        ),
    ] = 20_000
    mail_senders: Annotated[Count, text("How many emails each process sends at the same time.")] = 4
    mail_domain_links_per_hour: Annotated[
        Count,
        text(
            "Links emailed to addresses without an account at one domain, large mailbox "
            "providers excepted. Beyond that, none is sent."
        ),
    ] = 200
    mail_once_seconds: Annotated[
        Seconds,
        text(
            "How long a launch email or an alert is retried; other emails are retried as long as "
            "their link is valid."
        ),
    ] = 172_800.0
    mail_seconds: Annotated[Seconds, text("How often the outbox is checked.")] = 1.0
    mail_links_per_hour: Annotated[Count, text("Most links emailed to an address per hour.")] = 5
    mail_link_seconds: Annotated[Seconds, text("How long a sign-in link is valid.")] = 1_800.0
    mail_invitation_seconds: Annotated[
        Seconds, text("How long an invitation, or a waitlist confirmation link, is valid.")
    ] = 259_200.0
