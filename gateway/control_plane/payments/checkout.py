"""Checkout: an organization buys credit on a page of Stripe's.

The row comes first: what is bought, for whom, until when. Then Stripe is asked for a page with an
idempotency key made from the row, so asking again, after a lost answer or because a form was sent
twice, gives the same page and never a second payment. The row decides how much credit is bought.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.payments import customers, payments
from gateway.control_plane.payments.customers import Customers
from gateway.control_plane.payments.payments import CENT_NANOS, Payment
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeRefused
from gateway.data_plane.metering.port import frozen_error
from gateway.errors import BadRequest, TooManyRequests
from gateway.identifiers import is_id, new_id
from gateway.storage import tables
from gateway.storage.database import Database, alone, count, insert_into
from gateway.storage.ledger import freezes
from gateway.storage.ledger.postings import database_now

log = structlog.get_logger()

PRESET_DOLLARS = (10, 25, 50, 100, 250)
"""Amounts that the page offers."""
CUSTOM_DOLLARS_MIN = 5
"""Least that is sold: below it, the card's fees eat the payment."""
CUSTOM_DOLLARS_MAX = 5_000
"""Most that is sold at once."""
OPEN_MAX = 10
"""Most payments of an organization that may be open at the same time."""
STOPS_BUYING: tuple[freezes.StoredCause, ...] = ("books", "operator")
"""Causes of a freeze that also stop buying."""
EXPIRES = timedelta(minutes=60)
"""How long a page can be paid."""

_LEAST_LEFT = timedelta(minutes=31)
"""Stripe makes no page that ends in less than half an hour."""
_CENTS = 100
_RETRY_SECONDS = 60.0


class BuyingStarted(BadRequest):
    """The form was used for another purchase, or is too old."""

    status = 409
    code = "buying_started"


class TooManyOpen(TooManyRequests):
    """Too many payments of the organization wait for their buyer."""

    code = "too_many_open_payments"


class Checkout:
    """Starts payments."""

    def __init__(
        self,
        database: Database,
        api: StripeApi,
        customers: Customers,
        *,
        live: bool,
        tax: bool,
        sweep_seconds: float,
        product: str,
        public_url: str,
        clock: Callable[[], datetime] = wall.now,
    ) -> None:
        self._database = database
        self._api = api
        self._customers = customers
        self._live = live
        self._tax = tax
        self._sweep = timedelta(seconds=sweep_seconds)
        self._product = product
        self._public_url = public_url
        self._clock = clock

    async def start(
        self,
        organization_id: str,
        user_id: str | None,
        amount_cents: int,
        *,
        save_card: bool,
        payment_id: str | None = None,
    ) -> Payment:
        """Start a payment, and return it with the address of its page.

        The same `payment_id` gives the same payment again, in whatever state it is now. If Stripe
        no longer has its customer, it fails, and another takes its place. Raises BadRequest,
        BuyingOnHold, BuyingStarted, TooManyOpen, StripeFailure, and the error of a frozen account.
        """
        wanted = (organization_id, user_id, amount_cents)
        try:
            return await self._start(*wanted, save_card=save_card, payment_id=payment_id)
        except StripeRefused as error:
            if not error.is_missing:
                raise
        return await self._start(*wanted, save_card=save_card, payment_id=None)

    async def _start(
        self,
        organization_id: str,
        user_id: str | None,
        amount_cents: int,
        *,
        save_card: bool,
        payment_id: str | None,
    ) -> Payment:
        check_amount(amount_cents)
        if payment_id is not None and not is_id(payment_id):
            raise BadRequest("The form is malformed. Reload the page.", param="id")
        async with self._database.write() as connection:
            payment = await self._add(
                connection,
                payment_id or new_id(),
                organization_id,
                user_id,
                amount_cents,
                save_card=save_card,
            )
        if payment.state != "started":
            return payment
        if payment.customer_id is None:
            payment = await self._with_customer(payment)
        return await self._open(payment)

    async def portal(self, organization_id: str) -> str:
        """Return the address of the customer portal: invoices and cards. Raises StripeFailure."""
        return await self._customers.portal(organization_id)

    async def _add(
        self,
        connection: AsyncConnection,
        payment_id: str,
        organization_id: str,
        user_id: str | None,
        amount_cents: int,
        *,
        save_card: bool,
    ) -> Payment:
        """Add the row, or return the one that the form made before."""
        await alone(connection, f"payments:{organization_id}")
        before = await payments.get(connection, payment_id)
        if before is not None:
            wanted = (organization_id, amount_cents, save_card)
            if (before.organization_id, before.amount_cents, before.saves_card) != wanted:
                raise BuyingStarted("This form was used for another purchase. Load the page again.")
            return before
        await check_may_buy(connection, organization_id)
        table = tables.payments.c
        now = self._clock()
        is_open = (
            (table.organization_id == organization_id)
            & (table.origin == "checkout")
            & table.state.in_(("started", "open"))
            & (table.expires_at > now)
        )
        if await count(connection, tables.payments, is_open) >= OPEN_MAX:
            raise TooManyOpen(
                f"{OPEN_MAX} payments are open. Finish one, or wait until they expire.",
                retry_after_seconds=_RETRY_SECONDS,
            )
        payment = Payment(
            id=payment_id,
            organization_id=organization_id,
            user_id=user_id,
            origin="checkout",
            state="started",
            credit_nanos=amount_cents * CENT_NANOS,
            amount_cents=amount_cents,
            live=self._live,
            saves_card=save_card,
            # the reconciler closes one that never gets a page
            due_at=now + EXPIRES,
            created_at=now,
            changed_at=now,
            expires_at=now + EXPIRES,
        )
        statement = insert_into(connection, tables.payments).values(msgspec.structs.asdict(payment))
        added = await connection.execute(statement.on_conflict_do_nothing(index_elements=["id"]))
        if added.rowcount != 1:  # another organization's, a moment ago
            raise BuyingStarted("This form was used for another purchase. Load the page again.")
        return payment

    async def _with_customer(self, payment: Payment) -> Payment:
        """Store the customer in the row, so that each request for the page says the same."""
        customer_id = await self._customers.ensure(payment.organization_id)
        async with self._database.write() as connection:
            locked = await payments.lock(connection, payment.id)
            assert locked is not None
            if locked.customer_id is None:
                await payments.change(connection, payment.id, {"customer_id": customer_id})
            return await payments.find(connection, payment.id)

    async def _open(self, payment: Payment) -> Payment:
        """Ask for the page and store its address. Raises StripeFailure."""
        assert payment.expires_at is not None
        if payment.expires_at - self._clock() < _LEAST_LEFT:
            raise BuyingStarted("This form is too old. Reload the page.")
        try:
            session = await self._api.create_session(
                self._parameters(payment), key=f"payment:{payment.id}"
            )
        except StripeRefused as error:
            log.error("checkout refused by Stripe", payment=payment.id, reason=str(error))
            await self._refused(payment, error)
            raise
        async with self._database.write() as connection:
            locked = await payments.lock(connection, payment.id)
            assert locked is not None
            values: dict[str, Any] = {"session_id": session.id, "session_url": session.url or ""}
            if locked.state == "started":
                values |= {"state": "open", "changed_at": self._clock()}
            soon = await database_now(connection) + self._sweep
            # an event or the buyer's return may have made it due already
            values["due_at"] = min(locked.due_at or soon, soon)
            await payments.change(connection, payment.id, values)
            return await payments.find(connection, payment.id)

    async def _refused(self, payment: Payment, error: StripeRefused) -> None:
        """End a payment for which Stripe makes no page; replace a customer that is gone."""
        async with self._database.write() as connection:
            locked = await payments.lock(connection, payment.id)
            if locked is None or locked.state != "started":
                return
            values = {
                "state": "failed",
                "failure_code": error.code,
                "failure_reason": "Stripe could not open the checkout.",
                "changed_at": self._clock(),
                "due_at": None,
            }
            await payments.change(connection, payment.id, values)
        if error.is_missing and payment.customer_id is not None:
            await self._customers.refresh(payment.customer_id)

    def _parameters(self, payment: Payment) -> dict[str, Any]:
        """Return the parameters of the page: the same each time, because Stripe compares them.

        What does not come from the row comes from settings: the brand, the public address, and
        whether there is tax. Changing one of them ends payments whose page was asked for without an
        answer; nobody has seen those pages.
        """
        assert payment.expires_at is not None
        metadata = {
            "payment_id": payment.id,
            "organization_id": payment.organization_id,
            "credit_cents": str(payment.amount_cents),
        }
        intent: dict[str, Any] = {"metadata": metadata}
        if payment.saves_card:
            intent["setup_future_usage"] = "off_session"
        back = f"{self._public_url}/console/billing/payments/{payment.id}"
        price = {
            "currency": "usd",
            "unit_amount": payment.amount_cents,
            "tax_behavior": "exclusive",
            "product_data": {"name": self._product},
        }
        return {
            "mode": "payment",
            "customer": payment.customer_id,
            "client_reference_id": payment.organization_id,
            "line_items": [{"quantity": 1, "price_data": price}],
            "metadata": metadata,
            "payment_intent_data": intent,
            "automatic_tax": {"enabled": self._tax},
            "tax_id_collection": {"enabled": True},
            "billing_address_collection": "required",
            "customer_update": {"address": "auto", "name": "auto"},
            "invoice_creation": {"enabled": True, "invoice_data": {"metadata": metadata}},
            # what is received must be dollars
            "adaptive_pricing": {"enabled": False},
            "expires_at": int(payment.expires_at.timestamp()),
            "success_url": back,
            "cancel_url": f"{back}?left=true",
        }


async def check_may_buy(connection: AsyncConnection, organization_id: str) -> None:
    """Let an organization buy, unless it is held, suspended or under review.

    One that owes, or whose payment is disputed, may buy. Raises BuyingOnHold, AccountSuspended and
    AccountUnderReview.
    """
    await customers.check_not_held(connection, organization_id)
    for cause in await freezes.causes(connection, organization_id):
        if cause in STOPS_BUYING:
            raise frozen_error(cause)


def check_amount(amount_cents: int) -> None:
    """Check an amount against the bounds. Raises BadRequest."""
    dollars, rest = divmod(amount_cents, _CENTS)
    if rest or not CUSTOM_DOLLARS_MIN <= dollars <= CUSTOM_DOLLARS_MAX:
        raise BadRequest(
            f"Choose whole dollars, {CUSTOM_DOLLARS_MIN} to {CUSTOM_DOLLARS_MAX:,}.",
            param="amount",
        )
