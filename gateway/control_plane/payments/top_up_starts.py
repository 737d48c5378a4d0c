"""The start of auto top-ups: who is due for one, and how often at most.

All limits are checked with the account locked, and count attempts whose outcome is not known yet.
An organization that has reached a limit is not looked at again before the limit ends.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import Row, Select, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.payments.outcomes import MonthLimit, limit_reached
from gateway.control_plane.payments.payments import CENT_NANOS, UNFINISHED, Payment
from gateway.control_plane.payments.top_up_stops import stopped
from gateway.identifiers import new_id
from gateway.storage.database import Database, insert_into
from gateway.storage.ledger import postings
from gateway.storage.ledger.reading import leased_unspent
from gateway.storage.tables import (
    accounts,
    auto_top_ups,
    freezes,
    payment_customers,
    payments,
    total,
)

log = structlog.get_logger()

INTERVAL = timedelta(seconds=60)
"""Least time between the starts of two attempts of an organization."""
STARTED_AT_ONCE = 50
"""Most attempts that one run starts."""

_DAY = timedelta(days=1)


class TopUpStarts:
    """Starts attempts: rows that `attempts` carries out."""

    def __init__(self, database: Database, *, live: bool, day_max: int) -> None:
        self._database = database
        self.live = live
        self._day_max = day_max

    async def run(self, now: datetime) -> int:
        """Start what is due, and return how many attempts."""
        query = due(now).order_by(auto_top_ups.c.organization_id).limit(STARTED_AT_ONCE)
        async with self._database.read() as connection:
            found = [row.organization_id for row in await connection.execute(query)]
        started = 0
        for organization_id in found:
            try:
                async with self._database.write() as connection:
                    started += await self.start(connection, organization_id, now)
            except Exception:  # the others go on
                log.exception("auto top-up can't start", organization=organization_id)
        return started

    async def start(self, connection: AsyncConnection, organization_id: str, now: datetime) -> bool:
        """Start an attempt if one is still due and nothing limits it; return whether it did."""
        await postings.lock_account(connection, organization_id)
        query = due(now).where(auto_top_ups.c.organization_id == organization_id)
        wanted = (await connection.execute(query)).one_or_none()
        if wanted is None:  # another process started it, or the balance rose
            return False
        spent = await _spent(connection, organization_id, now)
        waits_until = self._waits_until(spent, now)
        if waits_until is None and spent.month_cents + wanted.amount_cents > wanted.month_cents_max:
            waits_until = next_month(now)
            limit = MonthLimit(month_of(now), wanted.amount_cents, wanted.month_cents_max)
            await limit_reached(connection, organization_id, limit)
        if waits_until is not None:
            await connection.execute(
                update(auto_top_ups)
                .where(auto_top_ups.c.organization_id == organization_id)
                .values(not_before=waits_until)
            )
            return False
        return await self._add(connection, wanted, now)

    def _waits_until(self, spent: _Spent, now: datetime) -> datetime | None:
        """Return until when an attempt must wait; None if it may start."""
        if spent.newest is not None and now < spent.newest + INTERVAL:
            return spent.newest + INTERVAL
        if spent.oldest_of_day is not None and spent.day_count >= self._day_max:
            return spent.oldest_of_day + _DAY
        return None

    async def _add(self, connection: AsyncConnection, wanted: Row[Any], now: datetime) -> bool:
        attempt = Payment(
            id=new_id(),
            organization_id=wanted.organization_id,
            origin="auto",
            state="started",
            credit_nanos=wanted.amount_cents * CENT_NANOS,
            amount_cents=wanted.amount_cents,
            live=self.live,
            customer_id=wanted.customer_id,
            payment_method_id=wanted.payment_method_id,
            card_fingerprint=wanted.card_fingerprint,
            due_at=now,
            created_at=now,
            changed_at=now,
        )
        statement = insert_into(connection, payments).values(msgspec.structs.asdict(attempt))
        # the index that allows one open attempt an organization
        done = await connection.execute(statement.on_conflict_do_nothing().returning(payments.c.id))
        return done.one_or_none() is not None


class _Spent(NamedTuple):
    """What an organization's attempts have taken from its limits."""

    newest: datetime | None
    oldest_of_day: datetime | None
    day_count: int
    month_cents: int


def due(now: datetime) -> Select[Any]:
    """Select the organizations whose balance is low and who may buy with their saved card."""
    open_attempt = select(payments.c.id).where(
        payments.c.organization_id == auto_top_ups.c.organization_id,
        payments.c.origin == "auto",
        payments.c.state.in_(UNFINISHED),
    )
    frozen = select(freezes.c.account_id).where(
        freezes.c.account_id == auto_top_ups.c.organization_id
    )
    saved = payment_customers.c
    return (
        select(
            auto_top_ups.c.organization_id,
            auto_top_ups.c.amount_cents,
            auto_top_ups.c.month_cents_max,
            saved.customer_id,
            saved.payment_method_id,
            saved.card_fingerprint,
        )
        .join(accounts, accounts.c.id == auto_top_ups.c.organization_id)
        .join(
            payment_customers,
            saved.organization_id == auto_top_ups.c.organization_id,
        )
        .where(
            auto_top_ups.c.enabled.is_(True),
            stopped() == "",
            auto_top_ups.c.not_before.is_(None) | (auto_top_ups.c.not_before <= now),
            saved.customer_id.is_not(None),
            saved.payment_method_id.is_not(None),
            saved.held_at.is_(None),
            accounts.c.available_nanos + leased_unspent() < auto_top_ups.c.threshold_nanos,
            ~open_attempt.exists(),
            ~frozen.exists(),
        )
    )


def next_month(now: datetime) -> datetime:
    """Return when the next calendar month of UTC begins."""
    return (month_of(now) + timedelta(days=32)).replace(day=1)


def month_of(now: datetime) -> datetime:
    """Return when the calendar month of UTC began."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


async def _spent(connection: AsyncConnection, organization_id: str, now: datetime) -> _Spent:
    """Return what counts against an organization's limits, open attempts included."""
    a_day_ago, month = now - _DAY, month_of(now)
    of_day = payments.c.created_at > a_day_ago
    of_month = (payments.c.created_at >= month) & payments.c.state.in_((*UNFINISHED, "paid"))
    found = await connection.execute(
        select(
            func.max(payments.c.created_at),
            func.min(case((of_day, payments.c.created_at))),
            func.count(case((of_day, 1))),
            total(case((of_month, payments.c.amount_cents), else_=0)),
        ).where(
            payments.c.organization_id == organization_id,
            payments.c.origin == "auto",
            payments.c.created_at >= min(a_day_ago, month),
        )
    )
    return _Spent(*found.one())
