"""Free credit for new users: once per mailbox and identity, within the budget of `promotions`.

Only the credit is denied, never the sign-up, and the reason is stored.
"""

from __future__ import annotations

import hmac

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.users import User
from gateway.control_plane.billing.promotions import Gift, Reason
from gateway.storage.tables import users


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
