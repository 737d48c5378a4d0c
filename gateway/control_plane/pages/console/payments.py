"""Payments: their list, and the page of each, to which Stripe sends its buyer back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from gateway import wall
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.pages.console.payment_words import words_of
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.payments.reconciler import CLAIMED, Reconciler
from gateway.control_plane.payments.stripe_failures import StripeFailure
from gateway.control_plane.web.rendering import Render, is_fragment
from gateway.control_plane.web.visitors import having
from gateway.storage.database import Database

PATH = "/console/billing"

_PAGE = 50
STRIPE_SECONDS = 5.0
"""How long a page waits for Stripe; whatever it says later, the next look shows."""
ASKED_ANEW = timedelta(seconds=2.5)
"""How long an answer of Stripe's is good for all pages: a page looks again every three seconds."""


@get(f"{PATH}/payments", guards=[having("see_money")])
async def list_payments(
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    visitor: NamedDependency[Visitor],
    before: FromQuery[str] = "",
) -> Response[str]:
    """Show one page of payments; the next one continues before its last."""
    async with database.read() as connection:
        found = await payments.history(connection, visitor.organization_id, before, _PAGE + 1)
    return render("console/payments.html", section="billing", **listed(found, _PAGE))


@get(PATH + "/payments/{payment_id:str}", guards=[having("see_money")])
async def show_payment(
    request: Request[Any, Any, Any],
    database: NamedDependency[Database],
    render: NamedDependency[Render],
    reconciler: NamedDependency[Reconciler | None],
    visitor: NamedDependency[Visitor],
    payment_id: FromPath[str],
    left: FromQuery[bool] = False,
) -> Response[str]:
    """Show a payment; while its outcome is open, Stripe is asked.

    `left` is in the address that Stripe's page has for buyers who change their minds.
    """
    async with database.read() as connection:
        payment = await payments.find_own(connection, visitor.organization_id, payment_id)
    answered: bool | None = None
    if reconciler and _is_open(payment) and _may_ask(request, payment):
        answered = await _reconciled(reconciler, payment_id)
        async with database.read() as connection:
            payment = await payments.find_own(connection, visitor.organization_id, payment_id)
    return render(
        "console/payment_state.html" if is_fragment(request) else "console/payment.html",
        section="billing",
        payment=payment,
        words=words_of(payment),
        left=left,
        unread=answered is False,
        continues=answered is not False and payment.state == "open" and visitor.may("buy"),
    )


def listed(found: list[Payment], page: int) -> dict[str, Any]:
    """Return the context of a list: a page of payments in words, and where the next begins."""
    return {
        "payments": [(payment, words_of(payment)) for payment in found[:page]],
        "next_before": found[page - 1].id if len(found) > page else "",
    }


def _is_open(payment: Payment) -> bool:
    return payment.is_unfinished or words_of(payment).changes_soon


def _may_ask(request: Request[Any, Any, Any], payment: Payment) -> bool:
    """Tell whether to ask Stripe: unless it was asked a moment ago.

    Whoever asks claims the payment, and so spoils what another reads at the time. A page that looks
    again by itself leaves a payment alone for as long as it is claimed.
    """
    now = wall.now()
    claimed_at = None
    if payment.due_at is not None and now < payment.due_at <= now + CLAIMED:
        claimed_at = payment.due_at - CLAIMED
    if claimed_at is not None and is_fragment(request):
        return False
    asked = [at for at in (claimed_at, payment.reconciled_at) if at is not None]
    return not asked or max(asked) <= now - ASKED_ANEW


async def _reconciled(reconciler: Reconciler, payment_id: str) -> bool:
    """Read a payment at Stripe, in bounded time; return whether Stripe answered."""
    try:
        async with asyncio.timeout(STRIPE_SECONDS):
            await reconciler.reconcile(payment_id)
    except (TimeoutError, StripeFailure):
        return False
    return True
