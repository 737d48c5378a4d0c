"""Credit by transactions: one to reserve, one to settle or release. Correct, and not yet fast.

The balance is decided by one conditional UPDATE, so no interleaving takes it below zero.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.credits import (
    Charge,
    CreditUnavailable,
    InsufficientCredit,
    ReservationExpired,
)
from gateway.storage.database import Database
from gateway.storage.tables import (
    accounts,
    credit_lots,
    ledger_entries,
    reservations,
    usage_events,
)

log = structlog.get_logger()

_SETTLE_TRIES = 2  # the second finds out how a commit of unknown outcome ended
_REAP_AT_ONCE = 500


class TransactionalCredits:
    """The port `Credits`, straight on the database."""

    def __init__(self, database: Database, *, reservation_seconds: float) -> None:
        self._database = database
        self._hold = timedelta(seconds=reservation_seconds)

    async def reserve(self, charge: Charge) -> int:
        """Set the cost aside; see `Credits.reserve`."""
        organization = accounts.c.organization_id == charge.organization_id
        async with self._reachable(), self._database.write() as connection:
            balance = await connection.scalar(
                update(accounts)
                .where(organization, accounts.c.available_nanos >= charge.cost_nanos)
                .values(
                    available_nanos=accounts.c.available_nanos - charge.cost_nanos,
                    reserved_nanos=accounts.c.reserved_nanos + charge.cost_nanos,
                )
                .returning(accounts.c.available_nanos)
            )
            if balance is None:
                available = await connection.scalar(
                    select(accounts.c.available_nanos).where(organization)
                )
                raise InsufficientCredit(
                    f"This request costs {charge.cost_nanos} nano-dollars and the organization has "
                    f"{available or 0} left. Add credit, then try again."
                )
            await connection.execute(
                insert(reservations).values(
                    request_id=charge.request_id,
                    organization_id=charge.organization_id,
                    cost_nanos=charge.cost_nanos,
                    expires_at=datetime.now(UTC) + self._hold,
                )
            )
        return int(balance)

    async def settle(self, charge: Charge) -> None:
        """Charge what was reserved; see `Credits.settle`."""
        for attempt in range(1, _SETTLE_TRIES + 1):
            try:
                async with self._reachable(), self._database.write() as connection:
                    await _settle(connection, charge)
            except CreditUnavailable:
                if attempt == _SETTLE_TRIES:
                    raise
            else:
                return

    async def release(self, charge: Charge) -> None:
        """Give back what was reserved; see `Credits.release`."""
        try:
            async with self._database.write() as connection:
                await _release(connection, charge.request_id)
        except (SQLAlchemyError, OSError) as error:
            log.warning("release left to the reaper", request=charge.request_id, reason=str(error))

    async def reap(self) -> int:
        """Release the reservations whose deadline has passed, and return how many there were."""
        overdue = (
            select(reservations.c.request_id)
            .where(reservations.c.expires_at < datetime.now(UTC))
            .limit(_REAP_AT_ONCE)
        )
        async with self._database.read() as connection:
            requests = (await connection.scalars(overdue)).all()
        for request_id in requests:
            async with self._database.write() as connection:
                await _release(connection, request_id)
        return len(requests)

    @asynccontextmanager
    async def _reachable(self) -> AsyncIterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            log.error("credit unavailable", reason=f"{type(error).__name__}: {error}")
            raise CreditUnavailable(
                "Credit can't be checked at the moment; nothing was charged. Try again shortly."
            ) from error


async def _settle(connection: AsyncConnection, charge: Charge) -> None:
    if await _take_reservation(connection, charge.request_id) is None:
        if await _is_settled(connection, charge.request_id):
            return
        raise ReservationExpired("The request took too long; nothing was charged. Try again.")
    now = datetime.now(UTC)
    await connection.execute(
        update(accounts)
        .where(accounts.c.organization_id == charge.organization_id)
        .values(reserved_nanos=accounts.c.reserved_nanos - charge.cost_nanos)
    )
    await _burn(connection, charge.organization_id, charge.cost_nanos)
    await connection.execute(
        insert(usage_events).values(
            request_id=charge.request_id,
            organization_id=charge.organization_id,
            key_id=charge.key_id,
            model_id=charge.model_id,
            price_id=charge.price_id,
            inputs=charge.inputs,
            tokens=charge.tokens,
            cost_nanos=charge.cost_nanos,
            created_at=now,
        )
    )
    await connection.execute(
        insert(ledger_entries).values(
            organization_id=charge.organization_id,
            kind="usage",
            ref=charge.request_id,
            amount_nanos=-charge.cost_nanos,
            created_at=now,
        )
    )


async def _burn(connection: AsyncConnection, organization_id: str, cost_nanos: int) -> None:
    """Take the cost from the lots: promo first, then what expires first, then the oldest."""
    lots = await connection.execute(
        select(credit_lots.c.id, credit_lots.c.remaining_nanos)
        .where(credit_lots.c.organization_id == organization_id, credit_lots.c.remaining_nanos > 0)
        .order_by(
            credit_lots.c.kind == "paid",
            credit_lots.c.expires_at.is_(None),
            credit_lots.c.expires_at,
            credit_lots.c.id,
        )
    )
    for lot_id, remaining in lots.all():
        part = min(remaining, cost_nanos)
        await connection.execute(
            update(credit_lots)
            .where(credit_lots.c.id == lot_id)
            .values(remaining_nanos=credit_lots.c.remaining_nanos - part)
        )
        cost_nanos -= part
        if not cost_nanos:
            return
    assert cost_nanos == 0, "an account held more than its lots"


async def _release(connection: AsyncConnection, request_id: str) -> None:
    taken = await _take_reservation(connection, request_id)
    if taken is None:
        return
    await connection.execute(
        update(accounts)
        .where(accounts.c.organization_id == taken.organization_id)
        .values(
            available_nanos=accounts.c.available_nanos + taken.cost_nanos,
            reserved_nanos=accounts.c.reserved_nanos - taken.cost_nanos,
        )
    )


async def _take_reservation(
    connection: AsyncConnection, request_id: str
) -> Row[*tuple[Any, ...]] | None:
    taken = await connection.execute(
        delete(reservations)
        .where(reservations.c.request_id == request_id)
        .returning(reservations.c.organization_id, reservations.c.cost_nanos)
    )
    return taken.one_or_none()


async def _is_settled(connection: AsyncConnection, request_id: str) -> bool:
    found = select(usage_events.c.request_id).where(usage_events.c.request_id == request_id)
    return await connection.scalar(found) is not None
