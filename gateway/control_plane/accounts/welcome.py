"""Free credit for new people: once for each mailbox and identity, within a budget for each day.

The grant is denied, never the sign-up, and the reason is kept. What is granted expires and burns
first. The day's budget is one row that is raised only as far as the budget goes, so however many
sign in at once, it holds to the nano-dollar.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.users import User
from gateway.storage.ledger import grants
from gateway.storage.tables import promotion_days, users

Reason = Literal["granted", "granted_before", "disposable", "budget", "off"]


class Welcome:
    """Grants the credit."""

    def __init__(self, *, secret: str, credit_nanos: int, credit_days: int, day_nanos: int) -> None:
        self._secret = secret.encode()
        self._credit_nanos = credit_nanos
        self._lifetime = timedelta(days=credit_days)
        self._day_nanos = day_nanos

    async def greet(
        self,
        connection: AsyncConnection,
        user: User,
        address: Address,
        *,
        came_before: bool = False,
    ) -> Reason:
        """Grant a new user their credit, or keep why not. `came_before`: under another address."""
        reason: Reason = "granted_before"
        if not came_before:
            reason = await self._decide(connection, user, address)
        await connection.execute(update(users).where(users.c.id == user.id).values(welcome=reason))
        return reason

    async def _decide(self, connection: AsyncConnection, user: User, address: Address) -> Reason:
        if not self._credit_nanos:
            return "off"
        if address.is_disposable:
            return "disposable"
        now = datetime.now(UTC)
        async with connection.begin_nested() as attempt:
            granted = await grants.grant(
                connection,
                user.organization_id,
                self._credit_nanos,
                kind="promo",
                source_ref=self._ref(address),
                expires_at=now + self._lifetime,
            )
            if not granted:
                return "granted_before"
            if await self._take_from_budget(connection, now):
                return "granted"
            await attempt.rollback()
        return "budget"

    def _ref(self, address: Address) -> str:
        # the books are kept for ever and name nobody, so a digest stands there
        return f"signup:{hmac.digest(self._secret, address.key.encode(), 'sha256').hex()}"

    async def _take_from_budget(self, connection: AsyncConnection, now: datetime) -> bool:
        if self._credit_nanos > self._day_nanos:
            return False
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        added = dialect.insert(promotion_days).values(
            day=f"{now:%Y-%m-%d}", granted_nanos=self._credit_nanos
        )
        raised = promotion_days.c.granted_nanos + self._credit_nanos
        taken = await connection.scalar(
            added.on_conflict_do_update(
                index_elements=["day"],
                set_={"granted_nanos": raised},
                where=raised <= self._day_nanos,
            ).returning(promotion_days.c.day)
        )
        return taken is not None
