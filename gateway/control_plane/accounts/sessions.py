"""Sessions: a row for each, and a signed cookie (JWT) that names it.

The cookie is replaced every hour. Once a browser has used the new one, the previous one is accepted
for one more minute, for requests in flight; after that it must have been stolen, and its use ends
the session for thief and owner alike. A response with a new cookie may be lost (a dropped
connection, a second click): until the new cookie is used, the older one stays valid and gets
another. A session can be ended at any time, and expires after a month.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import msgspec
from sqlalchemy import bindparam, case, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.accounts.rights import RIGHTS, Right, Role
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage.clock import clock, clock_of_statement
from gateway.storage.database import Database
from gateway.storage.ledger.postings import database_now
from gateway.storage.ledger.reading import leased_unspent
from gateway.storage.tables import (
    accounts,
    authenticators,
    memberships,
    operator_views,
    operators,
    organizations,
    passkeys,
    sessions,
    users,
)

ALGORITHM = "HS256"

OperatorRole = Literal["read", "support", "finance", "operator", "owner"]
"""What a user may do for the service as a whole; most users have no such role."""

_OVERLAP = timedelta(minutes=1)


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in user and the organization they act for."""

    session_id: str
    user_id: str
    email: str
    address_key: str
    organization_id: str
    organization_name: str
    role: Role
    read_at: datetime
    """When the session was read, by the database's clock: the moments below are compared with
    it."""
    removed_from: str | None = None
    """Name of the organization they were removed from, if this session acted for it."""
    operator_role: OperatorRole | None = None
    verified_at: datetime | None = None
    """When they last proved a second factor in this session."""
    signed_in_at: datetime | None = None
    """When this session began."""
    viewing_until: datetime | None = None
    """An operator who sees the console as the organization does, and changes nothing: until when.
    `organization_id` is then that organization's, of which they are no member."""
    has_authenticator: bool = False
    """Whether they have set up an authenticator app."""
    has_passkey: bool = False
    organizations: int = 1
    """How many organizations they belong to: with several, pages lead to the others."""
    available_nanos: int = 0
    """What the organization they act for may spend, as `credit.balance` has it."""

    def may(self, right: Right) -> bool:
        """Tell whether their role lets them do something for the organization."""
        return right in RIGHTS[self.role]


class Device(msgspec.Struct, frozen=True):
    """Where a session is begun, for its user to recognize it."""

    browser: str = ""
    network: str = ""


UNKNOWN = Device()


class Sessions:
    """Begins, reads and ends sessions. `secret` signs the cookies."""

    def __init__(
        self, database: Database, *, secret: Keyring, seconds: float, rotation_seconds: float
    ) -> None:
        self._database = database
        self.secret = secret
        self.lifetime = timedelta(seconds=seconds)
        self._rotation = timedelta(seconds=rotation_seconds)

    async def begin(
        self,
        connection: AsyncConnection,
        user_id: str,
        organization_id: str,
        device: Device = UNKNOWN,
        *,
        verified_at: datetime | None = None,
    ) -> str:
        """Start a session and return its cookie; `verified_at` is when a factor was proved."""
        now = await database_now(connection)
        session_id = new_id()
        await connection.execute(
            insert(sessions).values(
                id=session_id,
                user_id=user_id,
                organization_id=organization_id,
                generation=1,
                seen=1,
                created_at=now,
                rotated_at=now,
                expires_at=now + self.lifetime,
                verified_at=verified_at,
                browser=device.browser,
                network=device.network,
            )
        )
        return self._cookie(session_id, user_id, 1, now + self.lifetime)

    async def read(self, session_id: str, generation: int) -> tuple[Visitor, str | None] | None:
        """Return a cookie's visitor, and the cookie that replaces it when it is time."""
        async with self._database.read() as connection:
            asked = {"session_id": session_id, "now": wall.now()}
            row = (await connection.execute(_SELECTION, asked)).one_or_none()
        if row is None or row.expires_at <= row.read_at:
            return None
        visitor = msgspec.convert(row, Visitor, from_attributes=True)
        age = row.read_at - row.rotated_at
        if generation < row.seen:
            if age < _OVERLAP:  # a request in flight; older generations are invalid
                return (visitor, None) if generation == row.generation - 1 else None
            await self.end(visitor.session_id)
            return None
        if generation > row.seen:
            await self._see(visitor.session_id, generation)
        if age < (self._rotation if generation == row.generation else _OVERLAP):
            return visitor, None
        return visitor, await self._rotate(visitor, row.generation, row.expires_at)

    async def switch(self, session_id: str, user_id: str, organization_id: str) -> bool:
        """Act for another organization; return False if the user is not a member."""
        belongs = select(memberships.c.user_id).where(
            memberships.c.user_id == user_id, memberships.c.organization_id == organization_id
        )
        async with self._database.write() as connection:
            switched = await connection.execute(
                update(sessions)
                .where(sessions.c.id == session_id, belongs.exists())
                .values(organization_id=organization_id, removed_from=None)
            )
        return bool(switched.rowcount)

    async def verify(self, connection: AsyncConnection, session_id: str) -> None:
        """Note that the visitor has just proved a second factor."""
        await connection.execute(
            update(sessions).where(sessions.c.id == session_id).values(verified_at=clock())
        )

    async def understood(self, session_id: str) -> None:
        """Clear `removed_from`: the visitor has seen it."""
        async with self._database.write() as connection:
            await connection.execute(
                update(sessions).where(sessions.c.id == session_id).values(removed_from=None)
            )

    async def end(self, session_id: str) -> None:
        """End one session."""
        async with self._database.write() as connection:
            await connection.execute(
                update(sessions)
                .where(sessions.c.id == session_id, sessions.c.revoked_at.is_(None))
                .values(revoked_at=wall.now())
            )

    async def _see(self, session_id: str, generation: int) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                update(sessions)
                .where(sessions.c.id == session_id, sessions.c.seen < generation)
                .values(seen=generation)
            )

    async def _rotate(self, visitor: Visitor, generation: int, expires_at: datetime) -> str | None:
        async with self._database.write() as connection:
            rotated = await connection.execute(
                update(sessions)
                .where(sessions.c.id == visitor.session_id, sessions.c.generation == generation)
                .values(generation=generation + 1, rotated_at=clock())
            )
        if not rotated.rowcount:
            return None  # another request of this browser gets the new cookie
        return self._cookie(visitor.session_id, visitor.user_id, generation + 1, expires_at)

    def _cookie(self, session_id: str, user_id: str, generation: int, expires_at: datetime) -> str:
        claims = {
            "sub": user_id,
            "jti": session_id,
            "iat": wall.now(),
            "exp": expires_at,
            "extras": {"generation": generation},  # where Litestar's Token keeps it
        }
        import jwt  # noqa: PLC0415 - not for what only reads about sessions, as commands do

        return jwt.encode(claims, self.secret.first, algorithm=ALGORITHM)


async def end_all(connection: AsyncConnection, user_id: str) -> None:
    """End all sessions of a user."""
    await connection.execute(
        update(sessions)
        .where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
        .values(revoked_at=wall.now())
    )


async def doubt(connection: AsyncConnection, user_id: str) -> None:
    """Forget that a user proved a second factor: each of their sessions must prove one again."""
    await connection.execute(
        update(sessions).where(sessions.c.user_id == user_id).values(verified_at=None)
    )


async def forget_devices(connection: AsyncConnection, user_id: str) -> None:
    """Forget where a user's sessions were begun."""
    await connection.execute(
        update(sessions).where(sessions.c.user_id == user_id).values(browser="", network="")
    )


async def forget_old(connection: AsyncConnection) -> None:
    """Delete expired sessions."""
    await connection.execute(delete(sessions).where(sessions.c.expires_at < clock()))


_former = organizations.alias("former")
_viewed = organizations.alias("viewed")
_own = memberships.alias("own")
_acted_for = func.coalesce(_viewed.c.id, sessions.c.organization_id)
_held = accounts.c.available_nanos + leased_unspent()
_SELECTION = (
    select(
        sessions.c.id.label("session_id"),
        sessions.c.user_id,
        users.c.email,
        users.c.address_key,
        _acted_for.label("organization_id"),
        func.coalesce(_viewed.c.name, organizations.c.name).label("organization_name"),
        case((_viewed.c.id.is_not(None), "read_only"), else_=memberships.c.role).label("role"),
        operator_views.c.ends_at.label("viewing_until"),
        _former.c.name.label("removed_from"),
        operators.c.role.label("operator_role"),
        sessions.c.verified_at,
        sessions.c.created_at.label("signed_in_at"),
        exists().where(authenticators.c.user_id == sessions.c.user_id).label("has_authenticator"),
        exists().where(passkeys.c.user_id == sessions.c.user_id).label("has_passkey"),
        select(func.count())
        .where(_own.c.user_id == sessions.c.user_id)
        .correlate(sessions)
        .scalar_subquery()
        .label("organizations"),
        case((_held > accounts.c.owed_nanos, _held - accounts.c.owed_nanos), else_=0).label(
            "available_nanos"
        ),
        sessions.c.generation,
        sessions.c.seen,
        sessions.c.rotated_at,
        sessions.c.expires_at,
        clock_of_statement("now").label("read_at"),
    )
    .join(users, users.c.id == sessions.c.user_id)
    .join(organizations, organizations.c.id == sessions.c.organization_id)
    .join(
        memberships,
        (memberships.c.user_id == sessions.c.user_id)
        & (memberships.c.organization_id == sessions.c.organization_id),
    )
    .join(_former, _former.c.id == sessions.c.removed_from, isouter=True)
    .join(operators, operators.c.user_id == sessions.c.user_id, isouter=True)
    .join(
        operator_views,
        (operator_views.c.session_id == sessions.c.id)
        & (operator_views.c.ends_at > clock_of_statement("now"))
        & operators.c.role.is_not(None),
        isouter=True,
    )
    .join(_viewed, _viewed.c.id == operator_views.c.organization_id, isouter=True)
    .join(accounts, accounts.c.id == _acted_for)
    .where(sessions.c.id == bindparam("session_id"), sessions.c.revoked_at.is_(None))
)
