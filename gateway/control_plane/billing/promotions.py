"""Free credit: never for throwaway mailboxes, and within one budget per day.

Sign-ups and launches share the budget. If it is used up, only the gift is denied, never the sign-up
or the mail; callers store the reason. The day's budget is one row that is raised only up to the
limit, so it holds to the nano-dollar under any concurrency.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import insert_into
from gateway.storage.ledger import grants
from gateway.storage.tables import promotion_days

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
