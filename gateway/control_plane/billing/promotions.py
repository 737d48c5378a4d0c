"""Free credit: once per mailbox and identity, never for throwaway mailboxes, within a daily budget.

Sign-ups and launches share the budget. If it is used up, only the gift is denied, never the sign-up
or the mail; callers store the reason. The day's budget is one row that is raised only up to the
limit, so it holds to the nano-dollar under any concurrency.
"""

from __future__ import annotations

import hmac
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.users import User
from gateway.storage.database import insert_into
from gateway.storage.ledger import grants
from gateway.storage.tables import promotion_days, users

Reason = Literal["granted", "granted_before", "disposable", "budget", "off"]


class Gift(msgspec.Struct, frozen=True, kw_only=True):
    """An amount of free credit, and the daily budget that all gifts share."""

    nanos: int
    """Zero: no gift."""
    days: int
    """Days until it expires."""
    day_nanos: int
    """Limit for all gifts of one day together."""

    async def give(
        self,
        connection: AsyncConnection,
        organization_id: str,
        source_ref: str,
        *,
        is_disposable: bool,
    ) -> Reason:
        """Grant it, once per `source_ref`; return the outcome."""
        if not self.nanos:
            return "off"
        if is_disposable:
            return "disposable"
        now = datetime.now(UTC)
        async with connection.begin_nested() as attempt:
            granted = await grants.grant(
                connection,
                organization_id,
                self.nanos,
                kind="promo",
                source_ref=source_ref,
                expires_at=now + timedelta(days=self.days),
            )
            if not granted:
                return "granted_before"
            if await self._take_from_budget(connection, now):
                return "granted"
            await attempt.rollback()
        return "budget"

    async def _take_from_budget(self, connection: AsyncConnection, now: datetime) -> bool:
        if self.nanos > self.day_nanos:
            return False
        added = insert_into(connection, promotion_days).values(
            day=f"{now:%Y-%m-%d}", granted_nanos=self.nanos
        )
        raised = promotion_days.c.granted_nanos + self.nanos
        taken = await connection.scalar(
            added.on_conflict_do_update(
                index_elements=["day"],
                set_={"granted_nanos": raised},
                where=raised <= self.day_nanos,
            ).returning(promotion_days.c.day)
        )
        return taken is not None


class Welcome:
    """Grants free credit to new users."""

    def __init__(self, *, secret: str, credit_nanos: int, credit_days: int, day_nanos: int) -> None:
        self._secret = secret.encode()
        self._gift = Gift(nanos=credit_nanos, days=credit_days, day_nanos=day_nanos)

    async def greet(
        self,
        connection: AsyncConnection,
        user: User,
        address: Address,
        *,
        came_before: bool = False,
    ) -> Reason:
        """Grant a new user's credit; store and return the outcome.

        `came_before`: the same identity signed up under another address.
        """
        reason: Reason = "granted_before"
        if not came_before:
            reason = await self._gift.give(
                connection,
                user.organization_id,
                self._ref(address),
                is_disposable=address.is_disposable,
            )
        await connection.execute(update(users).where(users.c.id == user.id).values(welcome=reason))
        return reason

    def _ref(self, address: Address) -> str:
        # the ledger is kept forever and names no one, so it gets a digest
        return f"signup:{hmac.digest(self._secret, address.key.encode(), 'sha256').hex()}"


async def given(connection: AsyncConnection, today: date, *, days: int) -> list[int]:
    """Return what was given away on each of the last days, today last, in nano-dollars."""
    wanted = [str(today - timedelta(days=ago)) for ago in reversed(range(days))]
    found = await connection.execute(select(promotion_days).where(promotion_days.c.day.in_(wanted)))
    by_day = {row.day: row.granted_nanos for row in found}
    return [by_day.get(day, 0) for day in wanted]
