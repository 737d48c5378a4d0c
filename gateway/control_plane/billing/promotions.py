"""Credit that we give away: not to mailboxes of minutes, and within one budget for each day.

Sign-ups and launches go through the same gate. A gift is denied, never what it comes with, and the
reason is kept by whoever asked. The day's budget is one row that is raised only as far as the
budget goes, so however many come at once, it holds to the nano-dollar.
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
    """Credit of one kind, and the budget that it shares with all others."""

    nanos: int
    """Zero: none is given."""
    days: int
    """Until what is left of it expires."""
    day_nanos: int
    """Most that all gifts of one day come to."""

    async def give(
        self,
        connection: AsyncConnection,
        organization_id: str,
        source_ref: str,
        *,
        is_disposable: bool,
    ) -> Reason:
        """Grant it, once for each `source_ref`, or tell why not."""
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
