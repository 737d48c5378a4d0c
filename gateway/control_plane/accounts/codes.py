"""Six digits beside a sign-in link, for those who read email on one device and sign in on another.

A code is derived from its link, so it is not stored, and it expires with the link. Only the form
that asked for the link, whose id nobody else has, accepts it, and only TRIES_MAX times: a guesser
has 5 chances in a million for each link sent to a mailbox. The link itself keeps working.
"""

from __future__ import annotations

import hmac

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.links import MailLink
from gateway.errors import BadRequest
from gateway.keyring import Keyring
from gateway.storage.clock import clock
from gateway.storage.tables import mail_links

DIGITS = 6
TRIES_MAX = 5
_SEPARATORS = str.maketrans("", "", " -\N{NO-BREAK SPACE}")


class WrongSignInCode(BadRequest):
    """The code is not that of a usable link which this form asked for."""

    code = "wrong_sign_in_code"


class SignInCodes:
    """Writes and uses codes."""

    def __init__(self, secret: Keyring) -> None:
        self._secret = secret

    def written(self, link_id: str) -> str:
        """Return the code of a link, as an email has it: 482 913."""
        digits = _digits(self._secret.digest(_said(link_id)))
        return f"{digits[:3]} {digits[3:]}"

    async def use(
        self, connection: AsyncConnection, address: Address, form: str, typed: str
    ) -> MailLink | None:
        """Use the link whose code was typed; None if it is wrong.

        Commit in either case: a wrong code counts as a try.
        """
        if not form:  # version 0.1 asks for links without one
            return None
        usable = (
            mail_links.c.purpose == "sign_in",
            mail_links.c.email == address.email,
            mail_links.c.form == form,
            mail_links.c.used_at.is_(None),
            mail_links.c.expires_at > clock(),
            mail_links.c.tries < TRIES_MAX,
        )
        counted = update(mail_links).where(*usable).values(tries=mail_links.c.tries + 1)
        found = await connection.scalars(counted.returning(mail_links.c.id))
        right = [link_id for link_id in found if self._is_of(link_id, typed)]
        if not right:
            return None
        used = update(mail_links).where(mail_links.c.id == right[0]).values(used_at=clock())
        columns = (mail_links.c[name] for name in MailLink.__struct_fields__)
        row = (await connection.execute(used.returning(*columns))).mappings().one()
        return MailLink(**row)

    def _is_of(self, link_id: str, typed: str) -> bool:
        given = typed.translate(_SEPARATORS).encode()
        return any(
            hmac.compare_digest(_digits(digest).encode(), given)
            for digest in self._secret.digests(_said(link_id))
        )


def _said(link_id: str) -> str:
    return f"code|{link_id}"


def _digits(digest: bytes) -> str:
    return f"{int.from_bytes(digest[:8]) % 10**DIGITS:0{DIGITS}d}"
