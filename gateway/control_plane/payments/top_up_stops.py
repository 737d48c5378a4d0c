"""Why auto top-up is stopped although it is enabled, derived from the stored rows each time.

Money that went back is not taken again automatically: after a refund or a dispute nothing is
charged until an owner saves the settings again; a card whose dispute is open or lost never is.
"""

from __future__ import annotations

from typing import Literal

from sqlalchemy import ColumnElement, case, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments.facts import DISPUTED, TAKES_BACK
from gateway.control_plane.payments.payments import Payment
from gateway.storage.tables import (
    auto_top_ups,
    freezes,
    payment_customers,
    payment_disputes,
    payment_refunds,
    payments,
)

Stopped = Literal["", "authentication", "declined", "refunded", "disputed"]
"""What attempts say about the saved card, or that money went back."""


def stopped() -> ColumnElement[str]:
    """Return, for a query over `auto_top_ups`, why it is stopped although it is enabled."""
    return case(
        (_disputed(), literal("disputed")),
        (auto_top_ups.c.paused != "", auto_top_ups.c.paused),
        (_refunded(), literal("refunded")),
        else_=literal(""),
    )


async def is_stopped(connection: AsyncConnection, attempt: Payment) -> bool:
    """Tell whether an attempt may not be charged any more.

    Its organization switched auto top-up off or saved another card, money went back, or an early
    fraud warning, an operator, a dispute or the audit stops it.
    """
    saved, rules = payment_customers.c, auto_top_ups.c
    frozen = select(freezes.c.account_id).where(freezes.c.account_id == attempt.organization_id)
    wanted = (
        select(rules.organization_id)
        .join(payment_customers, saved.organization_id == rules.organization_id)
        .where(
            rules.organization_id == attempt.organization_id,
            rules.enabled.is_(True),
            stopped() == "",
            saved.payment_method_id == attempt.payment_method_id,
            saved.held_at.is_(None),
            ~frozen.exists(),
        )
    )
    return await connection.scalar(wanted) is None


def _disputed() -> ColumnElement[bool]:
    """Select a dispute that takes money, of the saved card or since the settings were saved."""
    saved_card = (
        select(payment_customers.c.card_fingerprint)
        .where(payment_customers.c.organization_id == auto_top_ups.c.organization_id)
        .correlate(auto_top_ups)
        .scalar_subquery()
    )
    dispute = payment_disputes.c
    since = (
        select(dispute.id)
        .where(
            dispute.payment_id == payments.c.id,
            dispute.status.in_(DISPUTED),
            dispute.changed_at >= auto_top_ups.c.changed_at,
        )
        .correlate(payments, auto_top_ups)
    )
    disputed = select(payments.c.id).where(
        payments.c.organization_id == auto_top_ups.c.organization_id,
        payments.c.disputed_cents > 0,
        (payments.c.card_fingerprint == saved_card) | since.exists(),
    )
    return disputed.correlate(auto_top_ups).exists()


def _refunded() -> ColumnElement[bool]:
    """Select a refund that was asked for or made since the settings were saved."""
    refund = payment_refunds.c
    refunds = (
        select(refund.id)
        .join(payments, payments.c.id == refund.payment_id)
        .where(
            payments.c.organization_id == auto_top_ups.c.organization_id,
            refund.state.in_(("started", *TAKES_BACK)),
            refund.changed_at >= auto_top_ups.c.changed_at,
        )
    )
    return refunds.correlate(auto_top_ups).exists()
