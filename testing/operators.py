"""Operators for the tests of the back office."""

<<<<<<< HEAD
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select
=======
import re
import time
from datetime import datetime
from typing import Any

import pyotp
from sqlalchemy import select, update
>>>>>>> 55d3670 (The back office asks for a second factor, and for a fresh one without losing what was typed)

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import OperatorRole
from gateway.control_plane.back_office import staff
from gateway.control_plane.operators import operators
<<<<<<< HEAD
from gateway.control_plane.operators.operators import Operator
from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import sessions, trail_entries, users
from testing.browsing import Browser, sign_in
=======
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.storage.tables import sessions, users
from testing.browsing import Browser, field, sign_in
>>>>>>> 55d3670 (The back office asks for a second factor, and for a fresh one without losing what was typed)


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


<<<<<<< HEAD
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
=======
class Phone:
    """The authenticator app of somebody in a browser without a screen."""

    def __init__(self, page: str) -> None:
        """Scan the page that offers a secret."""
        found = re.search(r"Key: <code>([A-Z2-7]+)</code>", page)
        assert found, page
        self._codes = pyotp.TOTP(found[1])
        self._step = 0

    def code(self) -> str:
        """Return a code that was not shown before, of the next step if need be."""
        self._step = max(self._step + 1, int(time.time()) // 30 - 1)
        return self._codes.generate_otp(self._step)


async def enroll(browser: Browser, gateway: Any, email: str, role: OperatorRole = "owner") -> Phone:
    """Make someone an operator, and let them sign in and set up an authenticator app."""
    async with gateway.core.database.write() as connection:
        added = await staff.add(connection, COMMAND_LINE, Address(email), role)
    await sign_in(browser, gateway, email)
    page = await browser.get(f"/admin/enroll?token={added.token}")
    phone = Phone(page.text)
    sealed = field(page.text, "sealed")
    await browser.submit(
        "/admin/enroll", token=added.token, sealed=sealed, factor_code=phone.code()
    )
    assert browser.page.status_code == 200, browser.page.text
    return phone


async def grow_old(gateway: Any, email: str, **columns: datetime) -> None:
    """Change when a person's sessions began (`created_at`) or proved a factor (`verified_at`)."""
    async with gateway.core.database.write() as connection:
        mine = select(users.c.id).where(users.c.email == email).scalar_subquery()
        await connection.execute(
            update(sessions).where(sessions.c.user_id == mine).values(**columns)
        )
>>>>>>> 55d3670 (The back office asks for a second factor, and for a fresh one without losing what was typed)
