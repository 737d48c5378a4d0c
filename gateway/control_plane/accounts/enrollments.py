"""Enrollments: one address for each operator that lets them set their first second factor.

Someone who can only read an operator's email gets into their account, but not into the back office:
the setup link comes from the command line or from another operator, once, and is valid for an hour.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import authenticators, passkey_listing
from gateway.errors import NotFound
from gateway.storage.clock import clock
from gateway.storage.database import insert_into
from gateway.storage.tables import enrollments

SECONDS = 3600
PATH = "/admin/enroll?token="


class EnrollmentSpent(NotFound):
    """The enrollment was used, has expired, or is someone else's."""

    code = "enrollment_spent"


async def begin(connection: AsyncConnection, user_id: str) -> str:
    """Remove a user's factors and return a token with which they may set a new one.

    Existing factors don't count: someone who read the user's email may have added them.
    """
    await authenticators.remove(connection, user_id)
    await passkey_listing.remove_all(connection, user_id)
    token = secrets.token_urlsafe(32)
    values = {
        "digest": _digest(token),
        "expires_at": clock(timedelta(seconds=SECONDS)),
    }
    await connection.execute(
        insert_into(connection, enrollments)
        .values(user_id=user_id, **values)
        .on_conflict_do_update(index_elements=["user_id"], set_=values)
    )
    return token


async def is_open(connection: AsyncConnection, token: str, user_id: str | None = None) -> bool:
    """Tell whether a token may still be used, by a user if one is given."""
    usable = _usable(token)
    if user_id is not None:
        usable &= enrollments.c.user_id == user_id
    return await connection.scalar(select(enrollments.c.user_id).where(usable)) is not None


async def use(connection: AsyncConnection, token: str, user_id: str) -> None:
    """Use a token; of two concurrent calls, one succeeds. Raises EnrollmentSpent."""
    used = await connection.execute(
        delete(enrollments).where(_usable(token), enrollments.c.user_id == user_id)
    )
    if not used.rowcount:
        raise EnrollmentSpent("There is nothing here.")


async def cancel(connection: AsyncConnection, user_id: str) -> None:
    """Make a user's token useless."""
    await connection.execute(delete(enrollments).where(enrollments.c.user_id == user_id))


async def forget_old(connection: AsyncConnection) -> None:
    """Delete expired tokens."""
    await connection.execute(delete(enrollments).where(enrollments.c.expires_at < clock()))


def _usable(token: str) -> ColumnElement[bool]:
    return (enrollments.c.digest == _digest(token)) & (enrollments.c.expires_at > clock())


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
