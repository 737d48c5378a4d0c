"""Mail addresses and the mailboxes behind them.

Spellings that reach one mailbox share a `key`. It limits free credit and votes to one per mailbox,
but never decides who may sign in: that takes the exact address.
"""

from __future__ import annotations

import msgspec
from disposable_email_domains import blocklist
from email_validator import EmailNotValidError, validate_email

from gateway.errors import BadRequest

_DOTS_DO_NOT_COUNT = ("gmail.com", "googlemail.com")
CHARACTERS_MAX = 254
MAILBOX_PROVIDERS = frozenset([
    "163.com", "aol.com", "gmail.com", "gmx.de", "gmx.net", "hotmail.com", "icloud.com",
    "live.com", "mail.com", "me.com", "outlook.com", "proton.me", "protonmail.com", "qq.com",
    "web.de", "yahoo.com", "yandex.ru",
])  # fmt: skip
"""Domains where anyone can have a mailbox: they say nothing about who someone works for."""


class BadAddress(BadRequest):
    """Not a valid mail address."""

    code = "bad_address"


class Address(msgspec.Struct, frozen=True):
    """A mail address in lower case."""

    email: str

    @property
    def key(self) -> str:
        """The same for all spellings that reach one mailbox."""
        local, _, domain = self.email.rpartition("@")
        local = local.partition("+")[0]
        if domain in _DOTS_DO_NOT_COUNT:
            return f"{local.replace('.', '')}@gmail.com"
        return f"{local}@{domain}"

    @property
    def organization_domain(self) -> str:
        """The domain, if it says who someone works for; otherwise empty."""
        domain = self.email.rpartition("@")[2]
        return "" if domain in MAILBOX_PROVIDERS else domain

    @property
    def is_disposable(self) -> bool:
        """Tell whether the domain is on a list of throwaway mailbox providers."""
        return self.email.rpartition("@")[2] in blocklist


def parse(text: str) -> Address:
    """Parse a typed address into the form that any mail server accepts. Raises BadAddress.

    Encoded words (RFC 2047) are refused: mail headers decode them, so many spellings would reach
    one mailbox. A domain in other letters is kept in its ASCII form. The local part has no such
    form: only servers with SMTPUTF8 deliver it, and few mailboxes need them.
    """
    try:
        found = validate_email(text.strip()[: CHARACTERS_MAX + 1], check_deliverability=False)
    except EmailNotValidError:
        raise _invalid() from None
    if "=?" in found.local_part:
        raise _invalid()
    if found.ascii_email is None:
        raise BadAddress(
            "We can't send email to addresses with letters like ü before the @. Use another one.",
            param="email",
        )
    return Address(found.ascii_email.lower())


def _invalid() -> BadAddress:
    return BadAddress("This is not a valid email address.", param="email")
