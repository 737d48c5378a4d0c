"""The end of an auto top-up: what it means for the card, and who is told.

`Outcomes.note` belongs into the transaction in which the attempt ends, so that the row, the
breaker, the mails and the notice are written together or not at all. A mail's `ref` names the
attempt and the reader, so none is sent twice.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.mail.messages import Kind, MailWriter, plain
from gateway.control_plane.mail.outbox import Outbox
from gateway.control_plane.payments import auto_top_up
from gateway.control_plane.payments.auto_top_up import AUTHENTICATION, DECLINES_MAX, NO_DECLINE
from gateway.control_plane.payments.payments import Payment
from gateway.money import money
from gateway.storage.tables import memberships, organizations, payment_customers, users

_REASONS = {
    "expired_card": "it has expired",
    "insufficient_funds": "there is not enough money",
    "lost_card": "it was reported lost",
    "stolen_card": "it was reported stolen",
}
"""What an owner can act on. Others say nothing that helps, so that they are left out."""


class Told(NamedTuple):
    """A mail about an attempt, and its subject."""

    kind: Kind
    subject: str


class Outcomes:
    """Draws the consequences of attempts that ended."""

    def __init__(self, outbox: Outbox, writer: MailWriter, *, public_url: str) -> None:
        self._outbox = outbox
        self._writer = writer
        self._url = f"{public_url}/console/billing"

    async def note(self, connection: AsyncConnection, payment: Payment) -> None:
        """Note how a payment ended whose row is written: a payment proves its card, an attempt fails.

        Of a person's own payment that fails, Stripe's page has told them.
        """
        organization_id, card = payment.organization_id, payment.card_fingerprint
        await auto_top_up.reassess(connection, organization_id)
        if payment.state != "failed" or payment.origin != "auto":
            return
        standing = await auto_top_up.standing(connection, organization_id, card)
        told = _told(payment, standing.paused)
        if told is not None:
            await self._mail(connection, payment, told)

    async def _mail(self, connection: AsyncConnection, payment: Payment, told: Told) -> None:
        name = await connection.scalar(
            select(organizations.c.name).where(organizations.c.id == payment.organization_id)
        )
        reason = _REASONS.get(payment.failure_code)
        card = await _card(connection, payment)
        owners = await connection.execute(
            select(users.c.id, users.c.email)
            .join(memberships, memberships.c.user_id == users.c.id)
            .where(
                memberships.c.organization_id == payment.organization_id,
                memberships.c.role == "owner",
                users.c.email.is_not(None),
            )
        )
        now = datetime.now(UTC)
        mails = [
            self._writer.write(
                told.kind,
                ref=f"auto-top-up:{payment.id}:{owner.id}",
                recipient=owner.email,
                subject=told.subject,
                organization=plain(name or ""),
                amount=money(payment.credit_nanos),
                card=card,
                reason=f", because {reason}" if reason else "",
                declines_max=DECLINES_MAX,
                url=self._url,
            )
            for owner in owners
        ]
        await self._outbox.put_all(connection, [(mail, now) for mail in mails])


def _told(payment: Payment, paused: auto_top_up.Paused) -> Told | None:
    """Return the mail about a failed attempt; None where owners can do nothing about it."""
    if payment.failure_code == AUTHENTICATION:
        return Told("auto_top_up_authentication", "Your bank asks you to confirm a payment")
    if payment.failure_code in NO_DECLINE:
        return None
    if paused == "declined":
        return Told("auto_top_up_stopped", "Auto top-up has stopped: your card was declined")
    return Told("auto_top_up_declined", "Auto top-up failed: your card was declined")


async def _card(connection: AsyncConnection, payment: Payment) -> str:
    """Return the words for a card: it may have been replaced since the attempt began."""
    saved = payment_customers.c
    found = await connection.execute(
        select(saved.card_brand, saved.card_last_four).where(
            saved.organization_id == payment.organization_id,
            saved.payment_method_id == payment.payment_method_id,
            saved.card_last_four != "",
        )
    )
    row = found.one_or_none()
    return f"the {row.card_brand} card ending in {row.card_last_four}" if row else "the saved card"
