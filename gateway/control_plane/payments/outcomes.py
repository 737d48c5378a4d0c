"""The end of an auto top-up: what it means for the card, and who is told.

`Outcomes.note` belongs into the transaction in which the attempt ends, so that the row, the
breaker, the mails and the notice are written together or not at all. A mail's `ref` names the
attempt and the reader, so none is sent twice.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import organizations
from gateway.control_plane.alerts.notices import Notice, publish
from gateway.control_plane.mail.messages import Kind, MailWriter, plain
from gateway.control_plane.mail.outbox import Outbox
from gateway.control_plane.payments import auto_top_up
from gateway.control_plane.payments.auto_top_up import AUTHENTICATION, DECLINES_MAX, NO_DECLINE
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.money import money
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import memberships, payment_customers, users

_WORDS = {
    "expired_card": "it has expired",
    "insufficient_funds": "there is not enough money",
    "lost_card": "it was reported lost",
    "stolen_card": "it was reported stolen",
}
"""What an owner can act on. Others say nothing that helps, so that they are left out."""


class Outcomes:
    """Draws the consequences of attempts that ended."""

    def __init__(self, outbox: Outbox, writer: MailWriter, *, public_url: str) -> None:
        self._outbox = outbox
        self._writer = writer
        self._url = f"{public_url}/console/billing"

    async def note(self, connection: AsyncConnection, payment: Payment) -> None:
        """Note how a payment ended, whose row is written: paid or failed.

        What is paid proves its card. Of a person's own payment that fails, Stripe's page told them.
        """
        organization_id = payment.organization_id
        await auto_top_up.reassess(connection, organization_id)
        if payment.state != "failed" or payment.origin != "auto":
            return
        card = await auto_top_up.standing(connection, organization_id, payment.card_fingerprint)
        now = await database_now(connection)
        data = {
            "payment_id": payment.id,
            "amount_cents": payment.amount_cents,
            "reason": _reason(payment.failure_code),
            "message": payment.failure_reason,
        }
        await publish(
            connection,
            organization_id,
            Notice("auto_top_up.failed", f"auto-top-up:{payment.id}", data, now),
        )
        told = _told(payment, card.paused)
        if told is None:
            return
        why = _WORDS.get(payment.failure_code)
        await self._mail(
            connection,
            organization_id,
            told,
            ref=f"auto-top-up:{payment.id}",
            now=now,
            amount=money(payment.credit_nanos),
            card=await _card(connection, payment),
            reason=f", because {why}" if why else "",
            declines_max=DECLINES_MAX,
        )

    async def limit_reached(
        self, connection: AsyncConnection, organization_id: str, limit: MonthLimit
    ) -> None:
        """Tell an organization that its limit stops auto top-up, once for each month and limit."""
        amount, month = money(limit.amount_cents * CENT_NANOS), money(limit.cents_max * CENT_NANOS)
        message = f"Buying {amount} more would pass the limit of {month} for this month."
        ref = f"auto-top-up-limit:{organization_id}:{limit.month:%Y-%m}:{limit.cents_max}"
        data = {
            "payment_id": None,
            "amount_cents": limit.amount_cents,
            "reason": "limit",
            "message": message,
        }
        now = await database_now(connection)
        notice = Notice("auto_top_up.failed", ref, data, now)
        if await publish(connection, organization_id, notice):
            told = Told("auto_top_up_limit", "Auto top-up has reached its limit for this month")
            await self._mail(
                connection, organization_id, told, ref=ref, now=now, amount=amount, month=month
            )

    async def _mail(
        self,
        connection: AsyncConnection,
        organization_id: str,
        told: Told,
        *,
        ref: str,
        now: datetime,
        **context: Any,
    ) -> None:
        """Write a mail to each owner."""
        owners = await connection.execute(
            select(users.c.id, users.c.email)
            .join(memberships, memberships.c.user_id == users.c.id)
            .where(
                memberships.c.organization_id == organization_id,
                memberships.c.role == "owner",
                users.c.email.is_not(None),
            )
        )
        name = plain(await organizations.name_of(connection, organization_id))
        mails = [
            self._writer.write(
                told.kind,
                ref=f"{ref}:{owner.id}",
                recipient=owner.email,
                subject=told.subject,
                organization=name,
                url=self._url,
                **context,
            )
            for owner in owners
        ]
        await self._outbox.put_all(connection, [(mail, now) for mail in mails])


class MonthLimit(NamedTuple):
    """The limit that an attempt would pass, in cents without tax."""

    month: datetime
    amount_cents: int
    cents_max: int


class Told(NamedTuple):
    """A mail about an attempt, and its subject."""

    kind: Kind
    subject: str


def _reason(failure_code: str) -> str:
    """Return the kind of a failure, as webhooks tell it."""
    if failure_code == AUTHENTICATION:
        return "authentication"
    return "error" if failure_code in NO_DECLINE else "declined"


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
