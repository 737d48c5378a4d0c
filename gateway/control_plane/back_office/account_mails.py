"""Mails to an organization's owners about what operators did with its credit or its account."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import organizations
from gateway.control_plane.back_office.orders import GrantOrder, PlainOrder, RefundOrder
from gateway.control_plane.mail.messages import Mail, MailWriter, plain
from gateway.control_plane.mail.outbox import Outbox
from gateway.money import money
from gateway.storage.tables import memberships, users

SUSPENDED = "Your account was suspended, and its requests are refused"
UNSUSPENDED = "Your account is no longer suspended"
OWNERS_MAX = 50
"""Most owners of an organization that are mailed."""


class MailedLink(NamedTuple):
    """Where the button of an email leads, after our address, and its text."""

    path: str
    label: str


_LEDGER = MailedLink("/console/ledger", "Open the ledger")


class AccountMails:
    """Writes them into the outbox, in the transaction of what they tell."""

    def __init__(self, outbox: Outbox, writer: MailWriter, *, public_url: str) -> None:
        self._outbox = outbox
        self._writer = writer
        self._public_url = public_url

    async def moved(
        self, connection: AsyncConnection, order: PlainOrder, nanos: int, ref: str
    ) -> None:
        """Tell of credit that was granted, taken back or refunded."""
        await self.tell(connection, order.organization_id, subject_of(order, nanos), ref)

    async def suspended(self, connection: AsyncConnection, organization_id: str, ref: str) -> None:
        """Tell that requests are refused from now on."""
        await self.tell(connection, organization_id, SUSPENDED, ref)

    async def unsuspended(
        self, connection: AsyncConnection, organization_id: str, ref: str
    ) -> None:
        """Tell that the suspension was lifted."""
        await self.tell(connection, organization_id, UNSUSPENDED, ref)

    async def example(
        self, connection: AsyncConnection, organization_id: str, subject: str
    ) -> Mail | None:
        """Return a mail as the first owner would get it; None if there is no owner."""
        name = await organizations.name_of(connection, organization_id)
        first = (await owners(connection, organization_id))[:1]
        return self._mail(name, first[0], subject, "example") if first else None

    def example_of(self, subject: str, link: MailedLink) -> Mail:
        """Return a mail as its recipient would get it."""
        return self._mail("Example", "someone@example.com", subject, "example", link)

    async def tell(
        self,
        connection: AsyncConnection,
        organization_id: str,
        subject: str,
        ref: str,
        link: MailedLink = _LEDGER,
    ) -> None:
        """Tell an organization's owners something, once for each `ref`."""
        name = await organizations.name_of(connection, organization_id)
        now, told = wall.now(), await owners(connection, organization_id)
        mails = [(self._mail(name, address, subject, ref, link), now) for address in told]
        await self._outbox.put_all(connection, mails)

    def _mail(
        self, name: str, address: str, subject: str, ref: str, link: MailedLink = _LEDGER
    ) -> Mail:
        return self._writer.write(
            "account",
            ref=f"account:{ref}:{address}",
            recipient=address,
            subject=subject,
            organization=plain(name),
            url=self._public_url + link.path,
            label=link.label,
        )


def subject_of(order: PlainOrder, nanos: int) -> str:
    """Return what an email says about a movement of money."""
    amount = money(nanos)
    if isinstance(order, GrantOrder):
        what = "free credit" if order.kind == "promo" else "credit"
        lasts = f"; it expires in {order.expires_days} days" if order.expires_days else ""
        return f"You received {amount} of {what}{lasts}"
    if isinstance(order, RefundOrder):
        return f"{amount} of your payment is refunded"
    return f"{amount} of credit was taken back"


async def owners(connection: AsyncConnection, organization_id: str) -> list[str]:
    """Return the addresses of an organization's owners."""
    found = await connection.scalars(
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
    return [address for address in found if address]
