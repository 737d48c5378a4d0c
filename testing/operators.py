"""Operators for the tests of the back office."""

from typing import Any

from sqlalchemy import select

from gateway.control_plane.accounts.sessions import OperatorRole
from gateway.control_plane.operators import operators
from gateway.storage.tables import sessions, users
from testing.browsing import Browser, sign_in


async def sign_in_operator(
    browser: Browser, gateway: Any, email: str, role: OperatorRole = "owner"
) -> str:
    """Sign in as an operator whose second factor was proved just now; return their user's id."""
    await sign_in(browser, gateway, email)
    async with gateway.core.database.write() as connection:
        user_id = await connection.scalar(select(users.c.id).where(users.c.email == email.lower()))
        await operators.add(connection, user_id, role)
        owned = await connection.scalars(select(sessions.c.id).where(sessions.c.user_id == user_id))
        for session_id in owned.all():
            await gateway.services.sessions.verify(connection, session_id)
    return str(user_id)
