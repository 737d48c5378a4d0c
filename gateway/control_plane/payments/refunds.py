"""Refunds that we start: each is a row before Stripe is called, so none is made twice.

Whoever repeats a refund, with the same amount and the same reason, gets the first one. So does
whoever repeats an amount whose refund has no outcome yet; another amount waits for that outcome.
A refund whose outcome is unknown is asked for again, with the same key, for at most SENT_FOR; after
that it is looked for by its metadata, and has failed if Stripe has none. The reconciler takes the
credit back; it also learns of refunds that are made in Stripe's dashboard.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

import msgspec
import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.payments import payments
from gateway.control_plane.payments.attempts import Reconciling
from gateway.control_plane.payments.payments import Payment
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeFailure, StripeRefused
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import payment_disputes, payment_refunds, total

log = structlog.get_logger()

SENT_FOR = timedelta(hours=20)
"""How long the same request is repeated while its outcome is unknown."""
GIVEN_UP_AFTER = timedelta(hours=21)
"""When a refund that Stripe does not have counts as failed: the last request is over by then."""
LEASE = timedelta(minutes=2)
"""How long a refund is left to the process that asks for it."""
TURN_SECONDS = 30.0
"""How long a run goes on taking refunds."""
REASON_CHARACTERS_MAX = 500
"""Longest reason for a refund; operators read it, Stripe is not told."""

OPEN_DISPUTES = ("needs_response", "under_review")
"""Statuses of a dispute that holds the money; after an inquiry it may still be refunded."""


class CannotRefund(BadRequest):
    """The payment can't be refunded, or not by this much."""

    code = "cannot_refund"


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Money that goes back for a payment. `state` is "started" until Stripe's own is known."""

    id: str
    payment_id: str
    amount_cents: int
    reason: str
    state: str
    refund_id: str | None
    created_at: datetime
    changed_at: datetime
    problem: str = ""
    """Why it failed, as far as it is known now; not stored."""
    is_repeated: bool = False
    """Whether it was asked for before, so that nothing more goes back; not stored."""


class Refunds:
    """Refunds payments; `run` is a job that finds out lost outcomes."""

    def __init__(
        self,
        database: Database,
        stripe: StripeApi,
        reconciler: Reconciling,
        *,
        clock: Callable[[], datetime] = wall.now,
    ) -> None:
        self._database = database
        self._stripe = stripe
        self._reconciler = reconciler
        self._clock = clock

    async def refund(self, payment_id: str, amount_cents: int | None, reason: str) -> Refund:
        """Refund a payment, or a part of it; return the refund as far as it is known.

        Without an amount, everything that is left goes back. The same amount for the same reason is
        the same refund, made once. Raises CannotRefund or NoSuchPayment.
        """
        async with self._database.write() as connection:
            refund = await self.ask(connection, payment_id, amount_cents, reason)
        return await self.carry_out(refund)

    async def run(self) -> None:
        """Carry out refunds whose outcome is not known."""
        ends = monotonic() + TURN_SECONDS
        while monotonic() < ends:
            refund = await self._claim()
            if refund is None:
                return
            await self._carry_out(refund)

    async def ask(
        self, connection: AsyncConnection, payment_id: str, amount_cents: int | None, reason: str
    ) -> Refund:
        """Store a refund in the caller's transaction, under the same rules as `refund`.

        The caller calls `carry_out` afterwards; if not, `run` will.
        """
        reason = reason.strip()
        await payments.find(connection, payment_id)
        payment = await payments.lock(connection, payment_id)
        assert payment is not None
        before = await _asked_before(connection, payment, amount_cents, reason)
        if before is not None:
            return before
        left = await refundable_cents(connection, payment)
        amount = left if amount_cents is None else amount_cents
        if not 0 < amount <= left:
            raise CannotRefund(f"{_dollars(left)} of this payment can be refunded.", param="amount")
        if not reason or len(reason) > REASON_CHARACTERS_MAX:
            raise CannotRefund(
                f"A refund needs a reason of at most {REASON_CHARACTERS_MAX} characters.",
                param="reason",
            )
        now = self._clock()
        refund = Refund(
            id=new_id(), payment_id=payment.id, amount_cents=amount, reason=reason,
            state="started", refund_id=None, created_at=now, changed_at=now,
        )  # fmt: skip
        values = msgspec.structs.asdict(refund)
        del values["problem"], values["is_repeated"]
        await connection.execute(payment_refunds.insert().values(values))
        return refund

    async def carry_out(self, refund: Refund) -> Refund:
        """Ask Stripe for a refund that was not asked for yet; return it as far as it is known."""
        return await self._carry_out(refund) if refund.state == "started" else refund

    async def _claim(self) -> Refund | None:
        """Take a refund that nobody has worked on for LEASE; `changed_at` says when one began."""
        now, refund = self._clock(), payment_refunds.c
        due = (
            select(refund.id)
            .where(refund.state == "started", refund.changed_at <= now - LEASE)
            .order_by(refund.changed_at)
            .limit(1)
        )
        async with self._database.read() as connection:  # avoid the write lock if nothing is due
            if await connection.scalar(due) is None:
                return None
        next_one = due.with_for_update(skip_locked=True).scalar_subquery()
        async with self._database.write() as connection:
            claimed = await connection.execute(
                update(payment_refunds)
                .where(refund.id == next_one)
                .values(changed_at=now)
                .returning(payment_refunds)
            )
            row = claimed.mappings().one_or_none()
        return None if row is None else Refund(**row)

    async def _carry_out(self, refund: Refund) -> Refund:
        async with self._database.read() as connection:
            payment = await payments.find(connection, refund.payment_id)
        assert payment.intent_id is not None
        age = self._clock() - refund.created_at
        try:
            found = await self._found(refund, payment.intent_id) if age >= SENT_FOR else None
            if found is None and age < SENT_FOR:
                found = await self._asked(refund, payment.intent_id)
        except StripeRefused as error:
            if error.code == "idempotency_error":
                return refund
            return await self._end(refund, "failed", None, str(error))
        except StripeFailure as error:
            log.warning("refund without an outcome yet", refund=refund.id, reason=str(error))
            return refund
        if found is None:
            given_up = age >= GIVEN_UP_AFTER
            return await self._end(refund, "failed", None, "not sent") if given_up else refund
        state, refund_id = found
        return await self._end(refund, state, refund_id, "")

    async def _asked(self, refund: Refund, intent_id: str) -> tuple[str, str]:
        """Ask for a refund; return its state and id. Raises StripeFailure."""
        answer = await self._stripe.create_refund(
            {
                "payment_intent": intent_id,
                "amount": refund.amount_cents,
                "metadata": {"refund": refund.id, "payment_id": refund.payment_id},
            },
            key=f"refund:{refund.id}",
        )
        return answer.status or "pending", answer.id

    async def _found(self, refund: Refund, intent_id: str) -> tuple[str, str] | None:
        """Look for a refund at Stripe by its metadata. Raises StripeFailure."""
        for known in await self._stripe.refunds(intent_id):
            if (known.metadata or {}).get("refund") == refund.id:
                return known.status or "pending", known.id
        return None

    async def _end(self, refund: Refund, state: str, refund_id: str | None, problem: str) -> Refund:
        """Store the outcome, and let the reconciler take the credit back."""
        if problem:
            log.error("refund refused", refund=refund.id, reason=problem)
        ended = msgspec.structs.replace(
            refund, state=state, refund_id=refund_id, changed_at=self._clock(), problem=problem
        )
        async with self._database.write() as connection:
            await connection.execute(
                update(payment_refunds)
                .where(payment_refunds.c.id == refund.id, payment_refunds.c.state == "started")
                .values(state=state, refund_id=refund_id, changed_at=ended.changed_at)
            )
            if refund_id is not None:
                now = await database_now(connection)
                await payments.make_due(connection, refund.payment_id, now)
        if refund_id is not None:
            with contextlib.suppress(StripeFailure):
                await self._reconciler.reconcile(refund.payment_id)
        return ended


async def _asked_before(
    connection: AsyncConnection, payment: Payment, amount_cents: int | None, reason: str
) -> Refund | None:
    """Return the refund that is being repeated. Raises CannotRefund while another has no outcome.

    The caller has locked the payment.
    """
    table = payment_refunds.c
    found = await connection.execute(
        select(payment_refunds)
        .where(table.payment_id == payment.id, table.state.not_in(("failed", "canceled")))
        .order_by(table.id.desc())
    )
    refunds = [Refund(**row, is_repeated=True) for row in found.mappings()]
    is_all_asked = sum(refund.amount_cents for refund in refunds) >= payment.received_cents
    for refund in sorted(refunds, key=lambda refund: refund.reason != reason):
        same = is_all_asked if amount_cents is None else refund.amount_cents == amount_cents
        if same and (refund.reason == reason or refund.state == "started"):
            return refund
    for refund in refunds:
        if refund.state == "started":
            raise CannotRefund(
                f"A refund of {_dollars(refund.amount_cents)} of this payment ({refund.id}) has no "
                "outcome yet. Repeat that one, or wait for it."
            )
    return None


async def refundable_cents(connection: AsyncConnection, payment: Payment) -> int:
    """Return what may still be refunded of a payment that the caller has locked.

    Raises CannotRefund for a payment that brought no money, or whose bank has it for a dispute.
    """
    if payment.state != "paid" or payment.intent_id is None:
        raise CannotRefund(f"The payment is {payment.state}: there is nothing to refund.")
    disputed = select(payment_disputes.c.id).where(
        payment_disputes.c.payment_id == payment.id, payment_disputes.c.status.in_(OPEN_DISPUTES)
    )
    if payment.disputed_cents or await connection.scalar(disputed) is not None:
        raise CannotRefund("The payment is disputed: answer the dispute at Stripe instead.")
    ours = payment_refunds.c
    unknown = (ours.payment_id == payment.id) & (ours.state == "started")
    if payment.reconciled_at is not None:  # refunds that ended since are not in its sum yet
        told = ours.state.in_(("pending", "requires_action", "succeeded"))
        later = ours.changed_at > payment.reconciled_at
        unknown |= (ours.payment_id == payment.id) & told & later
    on_its_way = await connection.scalar(select(total(ours.amount_cents)).where(unknown))
    return payment.received_cents - payment.refunded_cents - (on_its_way or 0)


def _dollars(cents: int) -> str:
    return f"${cents // 100:,}.{cents % 100:02d}"
