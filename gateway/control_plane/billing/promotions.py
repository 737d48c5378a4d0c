"""Free credit: once per mailbox and identity, never for throwaway mailboxes, within a daily budget.

Sign-ups and launches share the budget. If it is used up, only the gift is denied, never the sign-up
or the mail; callers store the reason. The day's budget is one row that is raised only up to the
limit, so it holds to the nano-dollar under any concurrency. The domain and the network of a sign-up
have such a row each too, so that neither takes the day's budget from everybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import Table, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.networks import wide
from gateway.control_plane.accounts.users import User
from gateway.control_plane.secrets import lasting
from gateway.keyring import Keyring
from gateway.storage.database import insert_into
from gateway.storage.ledger import grants
from gateway.storage.tables import promotion_days, promotion_shares, users

Reason = Literal["granted", "granted_before", "disposable", "budget", "off"]


class Gift(msgspec.Struct, frozen=True, kw_only=True):
    """An amount of free credit, and the daily budget that all gifts share."""

    nanos: int
    """Zero: no gift."""
    days: int
    """Days until it expires."""
    day_nanos: int
    """Limit for all gifts of one day together."""
    share_nanos: int = 0
    """Limit for the gifts of one day to one domain or network."""

    async def give(
        self,
        connection: AsyncConnection,
        organization_id: str,
        source_ref: str,
        *,
        is_disposable: bool,
        shares: Sequence[bytes] = (),
    ) -> Reason:
        """Grant it, once per `source_ref`; return the outcome.

        `shares` are digests of the domain and the network that it counts for.
        """
        if not self.nanos:
            return "off"
        if is_disposable:
            return "disposable"
        now = wall.now()
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
            if await self._take_from_budget(connection, f"{now:%Y-%m-%d}", shares):
                return "granted"
            await attempt.rollback()
        return "budget"

    async def _take_from_budget(
        self, connection: AsyncConnection, day: str, shares: Sequence[bytes]
    ) -> bool:
        for share in sorted(shares):  # in order, so that no two wait for each other
            row = {"day": day, "share": share}
            if not await self._raise(connection, promotion_shares, row, self.share_nanos):
                return False
        return await self._raise(connection, promotion_days, {"day": day}, self.day_nanos)

    async def _raise(
        self, connection: AsyncConnection, table: Table, row: Mapping[str, Any], most: int
    ) -> bool:
        """Add the gift to a row's sum, unless that makes it more than `most`."""
        if self.nanos > most:
            return False
        raised = table.c.granted_nanos + self.nanos
        added = insert_into(connection, table).values(**row, granted_nanos=self.nanos)
        taken = await connection.scalar(
            added.on_conflict_do_update(
                index_elements=list(row),
                set_={"granted_nanos": raised},
                where=raised <= most,
            ).returning(table.c.day)
        )
        return taken is not None


class Welcome:
    """Grants free credit to new users. `secret` is GATEWAY_SECRET."""

    def __init__(
        self,
        *,
        secret: Keyring,
        credit_nanos: int,
        credit_days: int,
        day_nanos: int,
        share_nanos: int,
    ) -> None:
        self._secret = secret
        self._gift = Gift(
            nanos=credit_nanos, days=credit_days, day_nanos=day_nanos, share_nanos=share_nanos
        )

    async def greet(
        self,
        connection: AsyncConnection,
        user: User,
        address: Address,
        *,
        network: str = "",
        came_before: bool = False,
    ) -> Reason:
        """Grant a new user's credit; store and return the outcome.

        `network` is where they signed up; `came_before`: the same identity signed up under another
        address.
        """
        reason: Reason = "granted_before"
        names = (address.organization_domain, wide(network))
        if not came_before:
            digest = await self._digester(connection)
            reason = await self._gift.give(
                connection,
                user.organization_id,
                # the ledger is kept for good and names no one, so it gets a digest
                f"signup:{digest(address.key).hex()}",
                is_disposable=address.is_disposable,
                shares=[digest(name) for name in names if name],
            )
        await connection.execute(update(users).where(users.c.id == user.id).values(welcome=reason))
        return reason

    async def _digester(self, connection: AsyncConnection) -> Callable[[str], bytes]:
        return Keyring(await lasting.read(connection, self._secret, "welcome")).digest


async def given(connection: AsyncConnection, today: date, *, days: int) -> list[int]:
    """Return what was given away on each of the last days, today last, in nano-dollars."""
    wanted = [str(today - timedelta(days=ago)) for ago in reversed(range(days))]
    found = await connection.execute(select(promotion_days).where(promotion_days.c.day.in_(wanted)))
    by_day = {row.day: row.granted_nanos for row in found}
    return [by_day.get(day, 0) for day in wanted]
