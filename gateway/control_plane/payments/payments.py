"""Payments: the rows of what organizations buy, each written before Stripe hears of it.

Every change of a payment raises its `version`, so that what was read at Stripe before the change
never overwrites it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import NotFound
from gateway.identifiers import is_id
from gateway.storage.tables import payments

CENT_NANOS = 10_000_000
"""One cent, in nano-dollars."""

Origin = Literal["checkout", "auto", "found"]
State = Literal["started", "open", "processing", "paid", "failed", "canceled", "expired"]
UNFINISHED: tuple[State, ...] = ("started", "open", "processing")
"""States in which a payment may still succeed."""

HISTORY_MAX = 200


class NoSuchPayment(NotFound):
    """There is no such payment, or it is another organization's."""

    code = "payment_not_found"


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `payments`; storage/tables/payments.py says what each column means."""

    id: str
    organization_id: str
    user_id: str | None = None
    origin: Origin
    state: State
    credit_nanos: int
    amount_cents: int
    tax_cents: int = 0
    live: bool
    saves_card: bool = False
    customer_id: str | None = None
    payment_method_id: str | None = None
    tax_calculation_id: str | None = None
    session_id: str | None = None
    session_url: str = ""
    intent_id: str | None = None
    charge_id: str | None = None
    received_cents: int = 0
    refunded_cents: int = 0
    disputed_cents: int = 0
    posted_nanos: int = 0
    tax_posted_nanos: int = 0
    postings: int = 0
    version: int = 1
    due_at: datetime | None = None
    reconciled_at: datetime | None = None
    failure_code: str = ""
    failure_reason: str = ""
    attention: str = ""
    seen: str = ""
    failures: int = 0
    invoice_number: str = ""
    invoice_url: str = ""
    receipt_url: str = ""
    tax_id: str = ""
    country: str = ""
    card_fingerprint: str = ""
    created_at: datetime
    changed_at: datetime
    expires_at: datetime | None = None
    paid_at: datetime | None = None

    @property
    def is_unfinished(self) -> bool:
        """Whether it may still succeed."""
        return self.state in UNFINISHED

    def to_see(self, attention: str) -> str:
        """Return what an operator must look at; empty if one has already seen exactly that."""
        return "" if attention == self.seen else attention


def of_row(row: Row[Any]) -> Payment:
    """Make a payment from a row with all columns."""
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return Payment(**values | {name: bool(values[name]) for name in ("live", "saves_card")})


async def add(connection: AsyncConnection, payment: Payment) -> None:
    """Store a new payment."""
    await connection.execute(insert(payments).values(**msgspec.structs.asdict(payment)))


async def get(connection: AsyncConnection, payment_id: str) -> Payment | None:
    """Return a payment, or None."""
    return await _one(connection, payments.c.id == payment_id) if is_id(payment_id) else None


async def lock(connection: AsyncConnection, payment_id: str) -> Payment | None:
    """Return a payment and keep others from changing it until the transaction ends."""
    found = await connection.execute(
        select(payments).where(payments.c.id == payment_id).with_for_update()
    )
    row = found.one_or_none()
    return of_row(row) if row else None


async def find(connection: AsyncConnection, payment_id: str) -> Payment:
    """Return a payment, for operators. Raises NoSuchPayment."""
    payment = await get(connection, payment_id)
    if payment is None:
        raise NoSuchPayment(f"There is no payment {payment_id!r}.")
    return payment


async def find_own(connection: AsyncConnection, organization_id: str, payment_id: str) -> Payment:
    """Return a payment of an organization. Raises NoSuchPayment, for another's too."""
    payment = await get(connection, payment_id)
    if payment is None or payment.organization_id != organization_id:
        raise NoSuchPayment("There is no such payment.")
    return payment


async def with_intent(connection: AsyncConnection, intent_id: str) -> Payment | None:
    """Return the payment of a payment intent, or None."""
    return await _one(connection, payments.c.intent_id == intent_id)


async def with_session(connection: AsyncConnection, session_id: str) -> Payment | None:
    """Return the payment of a checkout at Stripe, or None."""
    return await _one(connection, payments.c.session_id == session_id)


async def history(
    connection: AsyncConnection, organization_id: str, before: str | None = None, limit: int = 50
) -> list[Payment]:
    """Return an organization's payments, the newest first, older than the payment `before`."""
    query = select(payments).where(payments.c.organization_id == organization_id)
    if before is not None and is_id(before):
        query = query.where(payments.c.id < before)
    query = query.order_by(payments.c.id.desc()).limit(min(limit, HISTORY_MAX))
    return [of_row(row) for row in await connection.execute(query)]


async def change(connection: AsyncConnection, payment_id: str, values: Mapping[str, Any]) -> None:
    """Write columns of a payment and raise its version."""
    await connection.execute(
        update(payments)
        .where(payments.c.id == payment_id)
        .values(version=payments.c.version + 1, **values)
    )


async def make_due(connection: AsyncConnection, payment_id: str, at: datetime) -> bool:
    """Ask for a payment to be reconciled at a time; return whether there is such a payment.

    It is read anew even if someone is reading it now, because this raises the version.
    """
    done = await connection.execute(
        update(payments)
        .where(payments.c.id == payment_id)
        .values(version=payments.c.version + 1, due_at=at)
    )
    return done.rowcount == 1


async def _one(connection: AsyncConnection, condition: Any) -> Payment | None:
    row = (await connection.execute(select(payments).where(condition))).one_or_none()
    return of_row(row) if row else None
