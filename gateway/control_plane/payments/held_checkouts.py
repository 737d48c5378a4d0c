"""Ends open checkouts of organizations that may not buy any more, at Stripe.

An early fraud warning, an operator or the audit can stop an organization while its buyer is on
Stripe's page. Nobody has to tell this job: it looks for such pages each time. One that is already
paid stays paid, and the reconciler handles it.
"""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments.checkout import STOPS_BUYING
from gateway.control_plane.payments.payments import Payment, make_due, of_row
from gateway.control_plane.payments.stripe_api import StripeApi
from gateway.control_plane.payments.stripe_failures import StripeFailure, StripeRefused
from gateway.storage.database import Database
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import freezes, payment_customers, payments

log = structlog.get_logger()

ENDED_AT_ONCE = 50
"""Most checkouts that one run ends."""
TURN_SECONDS = 30.0
"""How long a run ends checkouts, so that the job stays within its time limit."""
_FRESH = timedelta(hours=2)
"""Checkouts that are older than this have expired."""


class HeldCheckouts:
    """Ends open checkouts of organizations that may not buy; `run` is a job."""

    def __init__(self, database: Database, api: StripeApi) -> None:
        self._database = database
        self._api = api

    async def run(self) -> int:
        """End what is open, and return how many were ended."""
        ends, ended = monotonic() + TURN_SECONDS, 0
        async with self._database.read() as connection:
            found = await _open(connection)
        for payment in found:
            if monotonic() > ends:
                break
            try:
                ended += await self._end(payment)
            except StripeFailure as error:  # the others would meet the same; the next run is soon
                log.warning("checkout can't be ended", payment=payment.id, reason=str(error))
                break
        return ended

    async def _end(self, payment: Payment) -> bool:
        """End a checkout, and let the payment be read anew. Raises StripeFailure."""
        assert payment.session_id is not None
        try:
            # ending twice is ending once, so each try may have a key of its own
            key = f"expire:{payment.id}:{payment.version}"
            await self._api.expire_session(payment.session_id, key=key)
        except StripeRefused as error:  # it is paid, or has ended
            log.info("checkout is not open any more", payment=payment.id, reason=str(error))
            return False
        finally:  # whatever became of it: it is read anew, and the next key is another
            async with self._database.write() as connection:
                await make_due(connection, payment.id, await database_now(connection))
        return True


async def _open(connection: AsyncConnection) -> list[Payment]:
    """Return the open checkouts that nobody may pay."""
    held = select(payment_customers.c.organization_id).where(
        payment_customers.c.held_at.is_not(None)
    )
    frozen = select(freezes.c.account_id).where(freezes.c.cause.in_(STOPS_BUYING))
    query = (
        select(payments)
        .where(
            payments.c.organization_id.in_(held.union(frozen)),
            payments.c.origin == "checkout",
            payments.c.state == "open",
            payments.c.session_id.is_not(None),
            payments.c.created_at > await database_now(connection) - _FRESH,
        )
        .order_by(payments.c.id)
        .limit(ENDED_AT_ONCE)
    )
    return [of_row(row) for row in await connection.execute(query)]
