"""Operators who set up a second factor the way people do, and time that passes for them."""

import re
import time
from datetime import datetime
from typing import Any

import pyotp
from sqlalchemy import select, update

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.sessions import OperatorRole
from gateway.control_plane.back_office import staff
from gateway.control_plane.operators.operators import COMMAND_LINE
from gateway.storage.tables import sessions, users
from testing.browsing import Browser, field, sign_in


class Phone:
    """Somebody's authenticator app."""

    def __init__(self, page: str, *, steps_ago: int = 1) -> None:
        """Scan the page that offers a secret.

        The first code is of so many steps of 30 seconds ago. The oldest that is accepted leaves two
        more at once; the present one, 0, leaves one more, and a slow browser half a minute.
        """
        found = re.search(r"Key: <code>([A-Z2-7]+)</code>", page)
        assert found, page
        self._codes = pyotp.TOTP(found[1])
        self._step, self._steps_ago = 0, steps_ago

    def code(self) -> str:
        """Return a code that was not shown before, of the next step if need be."""
        self._step = max(self._step + 1, int(time.time()) // 30 - self._steps_ago)
        return self._codes.generate_otp(self._step)


async def enroll(browser: Browser, gateway: Any, email: str, role: OperatorRole = "owner") -> Phone:
    """Make someone an operator, and let them sign in and set up an authenticator app."""
    async with gateway.core.database.write() as connection:
        added = await staff.add(connection, COMMAND_LINE, Address(email), role, "")
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
