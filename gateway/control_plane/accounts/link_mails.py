"""Emails that hold a link: to sign in, to join an organization or a waitlist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.codes import SignInCodes
from gateway.control_plane.accounts.links import MailLinks, Purpose
from gateway.control_plane.accounts.rights import Role
from gateway.control_plane.mail.messages import MailWriter, lasting
from gateway.control_plane.mail.outbox import Outbox

PATHS: Mapping[Purpose, str] = {
    "sign_in": "/sign-in/link?token=",
    "invitation": "/sign-in/invitation?token=",
    "waitlist": "/waitlist/confirm?token=",
}
"""The page that each kind of link opens."""


class LinkMails:
    """Emails links to people, each in the transaction that creates it."""

    def __init__(
        self,
        links: MailLinks,
        codes: SignInCodes,
        outbox: Outbox,
        writer: MailWriter,
        *,
        public_url: str,
    ) -> None:
        self._links = links
        self._codes = codes
        self._outbox = outbox
        self._writer = writer
        self._public_url = public_url

    async def send(
        self,
        connection: AsyncConnection,
        purpose: Purpose,
        address: Address,
        about: str,
        *,
        request: str,
        subject: str,
        as_role: Role | None = None,
        maker: str = "",
        form: str = "",
        **context: Any,
    ) -> bool:
        """Email a link about something, with the template of its purpose; return if it was.

        Nothing is sent for a `request` whose mail is already in the outbox, since a form that is
        sent twice must not use up a second link, nor to a mailbox that was sent enough links. The
        caller's answer tells nobody which it was, nor whether there is an account.
        """
        ref = f"{purpose}:{request}"
        if await self._outbox.holds(connection, ref):
            return False
        link = await self._links.create(connection, purpose, address, about, as_role, maker, form)
        if link is None:
            return False
        mail = self._writer.write(
            purpose,
            ref=ref,
            recipient=address.email,
            subject=subject,
            url=f"{self._public_url}{PATHS[purpose]}{link.token}",
            code=self._codes.written(link.id),
            lasts=lasting(self._links.seconds[purpose]),
            for_stranger=False,
            **context,
        )
        await self._outbox.put(connection, mail)
        return True
