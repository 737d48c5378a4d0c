"""Operators for the tests of the back office."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select

from gateway.control_plane.accounts.sessions import OperatorRole
from gateway.control_plane.operators import operators
from gateway.control_plane.operators.operators import Operator
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import sessions, trail_entries, users
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


async def make_operator(database: Database, email: str, role: OperatorRole = "owner") -> Operator:
    """Make a user who is an operator."""
    user_id = new_id()
    async with database.write() as connection:
        await connection.execute(
            insert(users).values(id=user_id, email=email, created_at=datetime.now(UTC), welcome="")
        )
        await operators.add(connection, user_id, role)
    return Operator(user_id=user_id, email=email, role=role, origin="203.0.113.7")


async def trail_of(database: Database, action: str) -> list[Any]:
    """Return the entries of the trail with an action, the oldest first."""
    query = select(trail_entries).where(trail_entries.c.action == action)
    async with database.read() as connection:
        return list((await connection.execute(query.order_by(trail_entries.c.number))).all())
