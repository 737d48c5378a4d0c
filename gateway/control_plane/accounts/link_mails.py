"""Mails a link: makes the link and puts its mail into the outbox, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.links import MailLinks, Purpose
from gateway.control_plane.mail.messages import MailWriter, lasting
from gateway.control_plane.mail.outbox import Outbox

PATHS: Mapping[Purpose, str] = {
    "sign_in": "/sign-in/link?token=",
    "invitation": "/sign-in/link?purpose=invitation&token=",
    "waitlist": "/waitlist/confirm?token=",
}
"""The page that each kind of link opens."""


class LinkMails:
    """Mails links to people."""

    def __init__(
        self, links: MailLinks, outbox: Outbox, writer: MailWriter, *, public_url: str
    ) -> None:
        self._links = links
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
        **context: Any,
    ) -> None:
        """Mail a link about something, with the template of its purpose.

        Nothing is sent for a `request` whose mail is already in the outbox, since a form that is
        sent twice must not use up a second link, nor to a mailbox that was sent enough links.
        """
        ref = f"{purpose}:{request}"
        if await self._outbox.holds(connection, ref):
            return
        token = await self._links.create(connection, purpose, address, about)
        if token is None:
            return
        mail = self._writer.write(
            purpose,
            ref=ref,
            recipient=address.email,
            subject=subject,
            url=f"{self._public_url}{PATHS[purpose]}{token}",
            lasts=lasting(self._links.seconds[purpose]),
            **context,
        )
        await self._outbox.put(connection, mail)
