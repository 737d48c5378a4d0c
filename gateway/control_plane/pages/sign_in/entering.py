"""What happens when someone has shown that an address is theirs: account, credit, session."""

from __future__ import annotations

from typing import Any

from litestar import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts import identities, users
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.identities import Identity
from gateway.control_plane.accounts.passkeys import PasskeyRefused
from gateway.control_plane.accounts.security_mails import SecurityMails
from gateway.control_plane.accounts.sessions import Device, Sessions
from gateway.control_plane.billing.promotions import Welcome
from gateway.control_plane.demand import waitlist
from gateway.control_plane.web.cookies import HostCookie
from gateway.control_plane.web.forms import safe_path, see_other
from gateway.control_plane.web.recording import MemberTrail


class Entering:
    """Lets people in, in the caller's transaction."""

    def __init__(self, welcome: Welcome, sessions: Sessions, mails: SecurityMails) -> None:
        self._welcome = welcome
        self._sessions = sessions
        self._mails = mails

    async def enter(
        self,
        connection: AsyncConnection,
        address: Address,
        device: Device,
        *,
        identity: Identity | None = None,
    ) -> str:
        """Sign in the owner of an address, or of an identity, and return the session's cookie.

        A known identity signs in to its own account, whatever its address is now.
        """
        known = await identities.find(connection, identity) if identity else None
        user = known or await users.find_or_create(connection, address)
        came_before = False
        if identity and not known:
            came_before = not await identities.connect(connection, identity, user.id)
        if user.is_new:
            await self._welcome.greet(
                connection, user, address, network=device.network, came_before=came_before
            )
        await waitlist.adopt(connection, Address(user.email), user.id)
        session = await self._sessions.begin(connection, user.id, user.organization_id, device)
        if identity and not known:
            if not user.is_new:
                await self._mails.method_added(connection, user.id, "GitHub", device.network)
            trail = MemberTrail.of(user.id, user.organization_id, device.network)
            await trail.record(
                connection,
                "sign_in_method.added",
                trail.person,
                after={"method": identity.provider},
            )
        return session

    async def enter_by_passkey(
        self, connection: AsyncConnection, user_id: str, device: Device
    ) -> str:
        """Sign in the owner of a passkey, which is a second factor too. Raises PasskeyRefused."""
        user = await users.find(connection, user_id)
        if user is None:
            raise PasskeyRefused("This passkey's account is deleted.")
        return await self._sessions.begin(
            connection, user.id, user.organization_id, device, verified_at=wall.now()
        )


def come_in(cookie: HostCookie, session: str, path: str) -> Response[Any]:
    """Open the page that somebody wanted to see before they signed in."""
    answer = see_other(safe_path(path))
    answer.set_cookie(cookie.holding(session))
    return answer
