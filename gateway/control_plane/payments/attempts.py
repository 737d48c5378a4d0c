"""Carries out auto top-ups: a saved card is charged once, whatever is lost on the way.

An attempt is a row of `payments` before Stripe hears of it, with everything that its request says:
amount, tax, customer, card. An open one blocks the next (a partial unique index). This job keeps it
while it is `started`, and hands it to the reconciler as soon as Stripe has accepted it.

- Nothing is known until Stripe answers: the same request is sent again, with the same key, for at
  most SENT_FOR (Stripe forgets keys after 24 hours). After that, or when Stripe repeats a failure
  of its own, or when the organization stops it, the attempt is only looked for by its metadata, and
  is over if Stripe has none.
- The processes of a deployment share the work by claiming a row for LEASE; whoever is late finds
  another `version` and writes nothing.
- An attempt ends, and its consequences are written, in one transaction (`outcomes`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Protocol

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.payments import outcomes, payments
from gateway.control_plane.payments.charges import (
    intent_parameters,
    receipt_email,
    tax_parameters,
)
from gateway.control_plane.payments.customers import Customers
from gateway.control_plane.payments.declines import AUTHENTICATION, decline
from gateway.control_plane.payments.payments import Payment, State
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeDown, StripeFailure, StripeRefused
from gateway.control_plane.payments.stripe_objects import StripeIntent, StripePaymentError
from gateway.control_plane.payments.top_up_starts import TopUpStarts
from gateway.control_plane.payments.top_up_stops import is_stopped
from gateway.identifiers import made_at_ms
from gateway.storage import tables
from gateway.storage.database import Database
from gateway.storage.ledger import postings

log = structlog.get_logger()

SENT_FOR = timedelta(hours=20)
"""How long the same request is repeated while its outcome is unknown."""
GIVEN_UP_AFTER = timedelta(hours=21)
"""When an attempt that Stripe does not have counts as failed: the last request is over by then."""
QUIET = timedelta(hours=1)
"""Time for Stripe to finish a failed request; only after it is an attempt that it lacks over."""
LEASE = timedelta(minutes=2)
"""How long a claimed attempt is left to its process: longer than its calls to Stripe may take."""
TURN_SECONDS = 30.0
"""How long a run goes on taking attempts; with one more call it fits into a job's time limit."""

_FIRST_WAIT = timedelta(seconds=15)
_LONGEST_WAIT = timedelta(minutes=15)
_CLOCKS_APART = timedelta(hours=1)
_DECLINED = 402
_REASON_CHARACTERS_MAX = 300
_NOT_CHARGED = "The card could not be charged."
_STOPPED = "It was stopped before the card was charged."
_LOOKED_FOR = "looked_for"
"""Failure code of an attempt for which nothing is sent any more; it is looked for a last time."""
_CLAIMED_FIRST = 2
"""The version of an attempt that was claimed for the first time: Stripe can't know it."""


class Attempts:
    """Starts auto top-ups and carries them out; `run` is a job."""

    def __init__(
        self,
        database: Database,
        stripe: StripeApi,
        starts: TopUpStarts,
        customers: Customers,
        reconciler: Reconciling,
        *,
        tax: bool,
        clock: Callable[[], datetime] = wall.now,
    ) -> None:
        self._database = database
        self._stripe = stripe
        self._starts = starts
        self._customers = customers
        self._reconciler = reconciler
        self._tax = tax
        self._clock = clock

    async def run(self) -> None:
        """Start what is due, and carry out what has no outcome yet."""
        ends = monotonic() + TURN_SECONDS
        await self._carry_out_all(ends)
        if await self._starts.run(self._clock()):
            await self._carry_out_all(ends)

    async def _carry_out_all(self, ends: float) -> None:
        while monotonic() < ends:
            payment = await self._claim()
            if payment is None:
                return
            try:
                await self._carry_out(payment)
            except Exception:  # the others go on; its claim ends, so it is tried again
                log.exception("auto top-up can't be carried out", payment=payment.id)

    async def _claim(self) -> Payment | None:
        """Take an attempt whose outcome is unknown, for a while."""
        table, now = tables.payments, self._clock()
        due = (
            select(table.c.id)
            .where(
                table.c.origin == "auto",
                table.c.state == "started",
                table.c.live.is_(self._starts.live),
                table.c.due_at <= now,
            )
            .order_by(table.c.due_at)
            .limit(1)
        )
        async with self._database.read() as connection:  # avoid the write lock if nothing is due
            if await connection.scalar(due) is None:
                return None
        next_one = due.with_for_update(skip_locked=True).scalar_subquery()
        async with self._database.write() as connection:
            claimed = await connection.execute(
                update(table)
                .where(table.c.id == next_one)
                .values(version=table.c.version + 1, due_at=now + LEASE)
                .returning(table)
            )
            row = claimed.one_or_none()
        return None if row is None else payments.of_row(row)

    async def _carry_out(self, payment: Payment) -> None:
        age = self._clock() - payment.created_at
        async with self._database.read() as connection:
            stopped = await is_stopped(connection, payment)
        if stopped and payment.version == _CLAIMED_FIRST:
            await self._end(payment, "canceled", reason=_STOPPED)
            return
        try:
            if stopped or payment.failure_code == _LOOKED_FOR or age >= SENT_FOR:
                intent = await self._found(payment)
            else:
                taxed = await self._with_tax(payment)
                if taxed is None:
                    return
                payment = taxed
                intent = await self._charged(payment)
        except StripeFailure as error:
            await self._failed(payment, error)
        else:
            await self._answered(payment, intent, stopped=stopped)

    async def _with_tax(self, payment: Payment) -> Payment | None:
        """Store the tax in the row before the card is charged: each request must say the same.

        Returns None if someone changed the row meanwhile. Raises StripeFailure.
        """
        if not self._tax or payment.tax_calculation_id is not None:
            return payment
        tax = await self._stripe.create_tax_calculation(
            tax_parameters(payment), key=f"tax:{payment.id}"
        )
        return await self._write(
            payment, tax_calculation_id=tax.id, tax_cents=tax.tax_amount_exclusive
        )

    async def _charged(self, payment: Payment) -> StripeIntent:
        """Charge the card, or find out what came of an earlier request. Raises StripeFailure."""
        async with self._database.read() as connection:
            email = await receipt_email(connection, payment.organization_id)
        try:
            return await self._stripe.create_intent(
                intent_parameters(payment, email), key=f"payment:{payment.id}"
            )
        except StripeDown as error:
            # Stripe repeats a failed answer to this key, whether it charged the card or not
            found = await self._found(payment) if error.is_answered else None
            if found is None:
                raise
            return found
        except StripeRefused as error:
            found = await self._found(payment) if error.code == "idempotency_error" else None
            if found is None:
                raise
            return found

    async def _found(self, payment: Payment) -> StripeIntent | None:
        """Look for an attempt at Stripe by its metadata. Raises StripeFailure."""
        began = datetime.fromtimestamp(made_at_ms(payment.id) / 1000, UTC)
        intents = await self._stripe.intents(
            customer_id=payment.customer_id, created_from=began - _CLOCKS_APART
        )
        return next((i for i in intents if i.metadata.get("payment_id") == payment.id), None)

    async def _answered(
        self, payment: Payment, intent: StripeIntent | None, *, stopped: bool
    ) -> None:
        """Act on what Stripe has for an attempt; `intent` is None if it has nothing."""
        if intent is None:
            await self._missed(payment, stopped=stopped)
            return
        match intent.status:
            case "succeeded" | "processing" | "requires_capture":
                await self._hand_over(payment, intent.id)
            case "requires_payment_method" | "canceled":
                error = intent.last_payment_error or StripePaymentError()
                code = decline(error.code or "", error.decline_code or "") or "not_charged"
                reason = error.message or _NOT_CHARGED
                await self._end(payment, "failed", code=code, reason=reason, intent_id=intent.id)
            case _:  # it waits for the cardholder, who isn't there
                await self._cancel(payment, intent.id)

    async def _missed(self, payment: Payment, *, stopped: bool) -> None:
        """End an attempt that Stripe does not have, once that can't change any more.

        That is once it was looked for QUIET after the last request.
        """
        is_quiet = payment.failure_code == _LOOKED_FOR
        if not is_quiet and self._clock() - payment.created_at < GIVEN_UP_AFTER:
            await self._look_later(payment)
        elif stopped:
            await self._end(payment, "canceled", reason=_STOPPED)
        else:
            await self._end(payment, "failed", code="not_charged", reason=_NOT_CHARGED)

    async def _look_later(self, payment: Payment) -> None:
        """Send nothing for it any more, and look for it a last time."""
        await self._write(payment, failure_code=_LOOKED_FOR, due_at=self._clock() + QUIET)

    async def _hand_over(self, payment: Payment, intent_id: str) -> None:
        """Let the reconciler credit the money: now, or when the payment is due."""
        values: dict[str, Any] = {
            "state": "open",
            "intent_id": intent_id,
            "failure_code": "",
            "changed_at": self._clock(),
        }
        async with self._database.write() as connection:
            values["due_at"] = await postings.database_now(connection)
            kept = await _changed(connection, payment, values)
        if kept is not None:
            with contextlib.suppress(StripeFailure):
                await self._reconciler.reconcile(payment.id)

    async def _cancel(self, payment: Payment, intent_id: str) -> None:
        try:
            await self._stripe.cancel_intent(intent_id, key=f"cancel:{payment.id}")
        except StripeFailure as error:
            await self._later(payment, str(error))
        else:
            await self._end(
                payment,
                "failed",
                code=AUTHENTICATION,
                reason="The bank asks the cardholder to confirm the payment.",
                intent_id=intent_id,
            )

    async def _failed(self, payment: Payment, error: StripeFailure) -> None:
        """Act on a missing answer, a failed one or a refusal."""
        is_kept = isinstance(error, StripeDown) and error.is_answered
        if is_kept and self._clock() - payment.created_at >= QUIET:
            # this key gives that answer for a day, even once Stripe works again
            await self._look_later(payment)
            return
        if not isinstance(error, StripeRefused) or error.code == "idempotency_error":
            await self._later(payment, str(error))
            return
        code = decline(error.code, error.decline_code) if error.status == _DECLINED else ""
        if code:
            await self._end(
                payment, "failed", code=code, reason=str(error), intent_id=error.intent_id
            )
            return
        log.error("auto top-up refused by Stripe", payment=payment.id, reason=str(error))
        await self._end(
            payment,
            "failed",
            code="refused",
            reason=_NOT_CHARGED,
            attention=f"Stripe refused an auto top-up: {error}",
            intent_id=error.intent_id,
        )
        if payment.customer_id is not None:  # the card or the customer may be gone
            with contextlib.suppress(StripeFailure):
                await self._customers.refresh(payment.customer_id)

    async def _later(self, payment: Payment, reason: str) -> None:
        """Try again after a wait that grows with the attempt's age."""
        now = self._clock()
        wait = min(max(now - payment.created_at, _FIRST_WAIT), _LONGEST_WAIT)
        say = log.warning if wait == _FIRST_WAIT else log.debug  # once, however often it is tried
        say("auto top-up without an outcome yet", payment=payment.id, reason=reason)
        await self._write(payment, due_at=now + wait)

    async def _write(self, payment: Payment, **values: Any) -> Payment | None:
        """Write columns of a claimed attempt; return None if someone changed it meanwhile."""
        async with self._database.write() as connection:
            return await _changed(connection, payment, values)

    async def _end(
        self, payment: Payment, state: State, *, reason: str, code: str = "", **values: Any
    ) -> None:
        """End an attempt without money, and draw the consequences."""
        values |= {
            "state": state,
            "failure_code": code,
            "failure_reason": reason[:_REASON_CHARACTERS_MAX],
            "due_at": None,
            "changed_at": self._clock(),
        }
        async with self._database.write() as connection:
            ended = await _changed(connection, payment, values)
            if ended is not None and state == "failed":
                await outcomes.note(connection, ended)


class Reconciling(Protocol):
    """The part of the reconciler that attempts and refunds use."""

    async def reconcile(self, payment_id: str) -> object:
        """Reconcile one payment now. Raises StripeFailure."""


async def _changed(
    connection: AsyncConnection, payment: Payment, values: Mapping[str, Any]
) -> Payment | None:
    """Write columns if the attempt is as it was read, and return it as it is now."""
    table = tables.payments
    done = await connection.execute(
        update(table)
        .where(table.c.id == payment.id, table.c.version == payment.version)
        .values(version=table.c.version + 1, **values)
        .returning(table)
    )
    row = done.one_or_none()
    return None if row is None else payments.of_row(row)
