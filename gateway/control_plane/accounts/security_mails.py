"""Mails about what an intruder would do first: a new key, a new owner, a new way to sign in.

They go to the people who can undo it, and can't be switched off.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import organizations
from gateway.control_plane.mail.messages import MailWriter, plain
from gateway.control_plane.mail.outbox import Outbox
from gateway.dates import moment_text
from gateway.identifiers import new_id
from gateway.storage.tables import memberships, users

OWNERS_MAX = 20
"""Most owners of an organization who are mailed: the oldest. Whom it is about is mailed, too."""


class SecurityMails:
    """Writes them into the outbox, in the transaction of what they tell."""

    def __init__(self, outbox: Outbox, writer: MailWriter, *, public_url: str) -> None:
        self._outbox = outbox
        self._writer = writer
        self._public_url = public_url

    async def key_made(
        self,
        connection: AsyncConnection,
        organization_id: str,
        *,
        name: str,
        last_four: str,
        user_id: str | None,
    ) -> None:
        """Tell the owners, and whoever made it, of a new key; an operator has no `user_id`."""
        await self._tell_of_key(
            connection,
            organization_id,
            user_id,
            "A new API key",
            f"created the API key {plain(name)} (it ends with {last_four})",
        )

    async def key_rotated(
        self,
        connection: AsyncConnection,
        organization_id: str,
        *,
        name: str,
        last_four: str,
        user_id: str | None,
    ) -> None:
        """Tell the owners, and whoever did it, of a key's new secret."""
        await self._tell_of_key(
            connection,
            organization_id,
            user_id,
            "A new secret for an API key",
            f"gave the API key {plain(name)} a new secret (it ends with {last_four})",
        )

    async def _tell_of_key(
        self,
        connection: AsyncConnection,
        organization_id: str,
        user_id: str | None,
        what: str,
        done: str,
    ) -> None:
        organization = plain(await organizations.name_of(connection, organization_id))
        maker = await _address(connection, user_id) if user_id else ""
        await self._tell(
            connection,
            await _owners(connection, organization_id, user_id),
            subject=f"{what} in {organization}",
            happened=f"{maker or 'An operator'} {done} for the organization {organization}",
            advice="Revoke the key, and end all sessions in the settings",
            label="Open the keys",
            path="/console/keys",
        )

    async def owner_made(
        self, connection: AsyncConnection, organization_id: str, user_id: str, by_user_id: str
    ) -> None:
        """Tell all owners, the new one included, of a new owner."""
        organization = plain(await organizations.name_of(connection, organization_id))
        new, by = await _address(connection, user_id), await _address(connection, by_user_id)
        await self._tell(
            connection,
            await _owners(connection, organization_id, user_id),
            subject=f"A new owner of {organization}",
            happened=f"{by} made {new} an owner of the organization {organization}",
            advice=f"Take the role from {new} in the settings, and end all your sessions there",
            label="Open the settings",
            path="/console/settings",
        )

    async def method_added(
        self, connection: AsyncConnection, user_id: str, method: str, origin: str
    ) -> None:
        """Tell a person of a new way to sign in to their account."""
        network = f" from {origin}" if origin else ""
        await self._tell(
            connection,
            [await _address(connection, user_id)],
            subject="A new way to sign in to your account",
            happened=f"{method} was added to your account{network}",
            advice="Remove it in the console, and end all your sessions",
            label="Open your settings",
            path="/console/settings",
        )

    async def _tell(
        self,
        connection: AsyncConnection,
        addresses: Sequence[str],
        *,
        subject: str,
        happened: str,
        advice: str,
        label: str,
        path: str,
    ) -> None:
        now, ref = wall.now(), new_id()
        mails = [
            self._writer.write(
                "security",
                ref=f"security:{ref}:{address}",
                recipient=address,
                subject=subject,
                happened=f"{happened}, on {moment_text(now)}.",
                advice=f"Wasn't it you, or someone you trust? {advice}.",
                label=label,
                url=self._public_url + path,
            )
            for address in addresses
            if address
        ]
        await self._outbox.put_all(connection, [(mail, now) for mail in mails])


async def _owners(
    connection: AsyncConnection, organization_id: str, user_id: str | None
) -> list[str]:
    """Return the addresses of the oldest owners, and of one more member."""
    query = (
        select(users.c.email)
        .join(memberships, memberships.c.user_id == users.c.id)
        .where(
            memberships.c.organization_id == organization_id,
            memberships.c.role == "owner",
            users.c.email.is_not(None),
        )
        .order_by(memberships.c.created_at)
        .limit(OWNERS_MAX)
    )
    found = [str(address) for address in await connection.scalars(query)]
    other = await _address(connection, user_id) if user_id else ""
    return found if other in found else [*found, other]


async def _address(connection: AsyncConnection, user_id: str) -> str:
    return await connection.scalar(select(users.c.email).where(users.c.id == user_id)) or ""
