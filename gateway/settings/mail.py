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
            "The server that sends our mail: smtp://user:password@host:587, or smtps:// for TLS "
            "from the first byte. A server that isn't on this machine must offer STARTTLS; for a "
            "relay without it, on a network of your own, add ?tls=opportunistic. Empty: nobody can "
            "sign in by mail, unless GATEWAY_DEV_MAIL is set."
        ),
    ] = ""
    mail_from: Annotated[str, text("The sender of our mail.")] = "no-reply@localhost"
    dev_mail: Annotated[
        bool, text("For development: sign-in links are logged, and /dev/mail shows all mails.")
    ] = False
    mail_pending_max: Annotated[
        Count,
        text(
            "Most unsent mails that people wait for, and as many to addresses without an account; "
            "beyond it, 503."
        ),
    ] = 20_000
    mail_senders: Annotated[
        Count, text("How many mails each process hands over at the same time.")
    ] = 4
    mail_domain_links_per_hour: Annotated[
        Count,
        text(
            "Links mailed to addresses without an account at one domain; those of large mailbox "
            "providers are not counted. Beyond it none is sent."
        ),
    ] = 200
    mail_once_seconds: Annotated[
        Seconds,
        text(
            "How long a launch mail or an alert is retried; others, as long as their link is valid."
        ),
    ] = 172_800.0
    mail_seconds: Annotated[Seconds, text("How often the outbox is checked.")] = 1.0
    mail_links_per_hour: Annotated[Count, text("Most links mailed to an address per hour.")] = 5
    mail_link_seconds: Annotated[Seconds, text("How long a sign-in link is valid.")] = 1_800.0
    mail_invitation_seconds: Annotated[
        Seconds, text("How long an invitation, or a waitlist confirmation link, is valid.")
    ] = 259_200.0
