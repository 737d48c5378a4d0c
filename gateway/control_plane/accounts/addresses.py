"""Mail addresses: as they are written to, and as they count.

Two spellings that reach one mailbox have the same `key`. It decides who gets free credit and how
often somebody may vote, and never who may sign in: there only the exact address counts.
"""

from __future__ import annotations

import msgspec
from disposable_email_domains import blocklist
from email_validator import EmailNotValidError, validate_email

from gateway.errors import BadRequest

_DOTS_DO_NOT_COUNT = ("gmail.com", "googlemail.com")
CHARACTERS_MAX = 254


class BadAddress(BadRequest):
    """Something that can't be a mail address."""

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
    def is_disposable(self) -> bool:
        """Tell whether the domain gives mailboxes away for minutes: a guess, from a list."""
        return self.email.rpartition("@")[2] in blocklist


def parse(text: str) -> Address:
    """Read an address that somebody typed, as any mail server can write to it. Raises BadAddress.

    What looks like an encoded word (RFC 2047) is none: a mail's header means what it stands for, so
    that many spellings would reach one mailbox. A domain in other letters has a form in ASCII,
    which is kept. What stands before the @ has none: only servers that know SMTPUTF8 deliver it,
    and few mailboxes are behind such servers alone.
    """
    try:
        found = validate_email(text.strip()[: CHARACTERS_MAX + 1], check_deliverability=False)
    except EmailNotValidError:
        raise _none() from None
    if "=?" in found.local_part:
        raise _none()
    if found.ascii_email is None:
        raise BadAddress(
            "We can't write to addresses with letters like ü before the @. Give another one.",
            param="email",
        )
    return Address(found.ascii_email.lower())


def _none() -> BadAddress:
    return BadAddress("This is no mail address. Look at it once more.", param="email")
