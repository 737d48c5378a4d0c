"""API keys: made, listed, revoked; stored as digests, and found again by them.

A change is announced to this process and, through Redis where there is one, to all others at once;
every process also reads the changes from the database (`KeyChanges`), so that an announcement that
is lost costs half a second and not a revocation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts import memberships
from gateway.control_plane.accounts.organizations import clean_name
from gateway.data_plane.auth import keys
from gateway.data_plane.auth.authenticator import KeyStoreUnavailable
from gateway.data_plane.metering.port import Period
from gateway.errors import BadRequest, NotFound
from gateway.identifiers import is_id, new_id
from gateway.snapshots import KeySnapshot, TokenIdsFrom, Truncate
from gateway.storage.database import Database, alone
from gateway.storage.ledger import budgets
from gateway.storage.ledger.budgets import Budget, Spent
from gateway.storage.tables import NANOS_MAX, api_keys, key_budgets

Announce = Callable[[bytes], Awaitable[None]]
"""Tells somebody the digest of a key that changed."""

# the clocks of two processes may differ by so much before a change could be missed
_OVERLAP = timedelta(seconds=10)


class KeyNotFound(NotFound):
    """No such key."""

    code = "key_not_found"


class TooManyKeys(BadRequest):
    """No more keys fit."""

    code = "too_many_keys"


class KeyMade(BadRequest):
    """The same form was sent before."""

    status = 409
    code = "key_made"


class KeyChanged(BadRequest):
    """Somebody changed the key since it was looked at."""

    status = 409
    code = "key_changed"


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as people may see it: never the key itself."""

    id: str
    organization_id: str
    name: str
    prefix: str = keys.PREFIX
    last_four: str
    token_ids_from: TokenIdsFrom | None
    truncate: Truncate | None
    created_at: datetime
    created_by: str | None
    """The user who made it, where that is known."""
    expires_at: datetime | None
    revoked_at: datetime | None


class NewApiKey(msgspec.Struct, frozen=True):
    """A key just made, with the only copy of its secret."""

    key: ApiKey
    secret: str


class ApiKeys:
    """The service; `secret` is the deployment's, `announce` is called after each change."""

    def __init__(
        self, database: Database, *, secret: str, announce: Announce | None = None
    ) -> None:
        self._database = database
        self._secret = secret
        self._announce = announce

    async def create(
        self,
        organization_id: str,
        name: str,
        *,
        created_by: str | None = None,
        expires_at: datetime | None = None,
        token_ids_from: TokenIdsFrom | None = None,
        truncate: Truncate | None = None,
        budget: Budget | None = None,
        keys_max: int | None = None,
        key_id: str | None = None,
    ) -> NewApiKey:
        """Make a key. Raises BadRequest for a name, an expiry or a budget that can't be.

        With `keys_max`, that many are in use at most, and made in a day. Raises TooManyKeys.
        With `key_id`, the same form makes one key however often it is sent. Raises KeyMade.
        """
        if budget is not None:
            _check_limit(budget.limit_nanos)
        now = datetime.now(UTC)
        if expires_at is not None and expires_at <= now:
            raise BadRequest("The key would expire before it exists.", param="expires_at")
        secret = keys.mint()
        key = ApiKey(
            id=key_id or new_id(),
            organization_id=organization_id,
            name=clean_name(name),
            last_four=secret[-4:],
            token_ids_from=token_ids_from,
            truncate=truncate,
            created_at=now,
            created_by=created_by,
            expires_at=expires_at,
            revoked_at=None,
        )
        values = {
            name: value for name, value in msgspec.structs.asdict(key).items() if name != "prefix"
        }
        digest = keys.digest(self._secret, secret)
        async with self._database.write() as connection:
            await alone(connection, f"keys of {organization_id}")
            if created_by is not None:
                await memberships.must_belong(connection, organization_id, created_by)
            if key_id and await connection.scalar(_ANY, {"key_id": key_id}):
                raise KeyMade(
                    "This form was sent twice. Its key was made the first time, and is shown only "
                    "once: if you did not keep it, revoke it and make another."
                )
            if keys_max is not None:
                await _check_room(connection, organization_id, keys_max)
            await connection.execute(
                insert(api_keys).values(digest=digest, changed_at=now, **values)
            )
            if budget is not None:  # in the same transaction: there is no moment without it
                await budgets.set_budget(connection, key.id, budget.limit_nanos, budget.period)
        await self._tell(digest)
        return NewApiKey(key, secret)

    async def listed(self, organization_id: str | None = None) -> list[ApiKey]:
        """Return an organization's keys, or all, oldest first: however many were revoked.

        For operators; pages read `keyring`, which is bounded.
        """
        query = select(*(api_keys.c[name] for name in _COLUMNS)).order_by(api_keys.c.id)
        if organization_id is not None:
            query = query.where(api_keys.c.organization_id == organization_id)
        async with self._database.read() as connection:
            found = await connection.execute(query)
            return [ApiKey(**row) for row in found.mappings()]

    async def budgets(self, organization_id: str) -> dict[str, Spent]:
        """Return the budgets of an organization's keys by the key's id."""
        async with self._database.read() as connection:
            return await budgets.of_organization(connection, organization_id, datetime.now(UTC))

    async def change(
        self,
        key_id: str,
        *,
        organization_id: str,
        name: str,
        token_ids_from: TokenIdsFrom | None,
        truncate: Truncate | None,
        budget: Budget | None,
        seen: datetime | None = None,
    ) -> None:
        """Change all of an organization's key that can be. Raises KeyNotFound, or BadRequest.

        With `seen`, only what nobody changed since that moment: else it raises KeyChanged.
        """
        if budget is not None:
            _check_limit(budget.limit_nanos)
        said = {"name": clean_name(name), "token_ids_from": token_ids_from, "truncate": truncate}
        key = and_(_key(key_id, organization_id), api_keys.c.revoked_at.is_(None))
        last = select(api_keys.c.digest, api_keys.c.changed_at).where(key).with_for_update()
        async with self._database.write() as connection:
            row = (await connection.execute(last)).one_or_none()
            if row is None:
                raise KeyNotFound("There is no such key.")
            if seen is not None and row.changed_at != seen:
                raise KeyChanged(
                    "The key was changed since this page was opened, and nothing was saved. What "
                    "you typed still stands here: compare, and save once more to have it so."
                )
            await connection.execute(
                update(api_keys).where(key).values(changed_at=datetime.now(UTC), **said)
            )
            await _limit(connection, key_id, budget)
        await self._tell(row.digest)

    async def revoke(self, key_id: str, *, organization_id: str | None = None) -> None:
        """End a key for good; doing it twice is fine. Raises KeyNotFound.

        With an organization, the keys of others are not there.
        """
        now = datetime.now(UTC)
        key = _key(key_id, organization_id)
        async with self._database.write() as connection:
            digest = await connection.scalar(
                update(api_keys)
                .where(key, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=now, changed_at=now)
                .returning(api_keys.c.digest)
            )
            if digest is None and await connection.scalar(select(api_keys.c.id).where(key)) is None:
                raise KeyNotFound(f"There is no key {key_id!r}.")
        if digest is not None:
            await self._tell(digest)

    async def tell(self, digests: Iterable[bytes]) -> None:
        """Have every process forget keys, once the change of them is committed."""
        await asyncio.gather(*(self._tell(digest) for digest in digests))

    async def set_budget(
        self, key_id: str, limit_nanos: int | None, period: Period = "month"
    ) -> None:
        """Let a key spend so much in a month or ever; None: what its organization has.

        Raises KeyNotFound, or BadRequest for an impossible amount.
        """
        if limit_nanos is not None:
            _check_limit(limit_nanos)
        async with self._database.write() as connection:
            digest = await connection.scalar(
                update(api_keys)
                .where(_key(key_id, None))
                .values(changed_at=datetime.now(UTC))
                .returning(api_keys.c.digest)
            )
            if digest is None:
                raise KeyNotFound(f"There is no key {key_id!r}.")
            budget = None if limit_nanos is None else Budget(limit_nanos=limit_nanos, period=period)
            await _limit(connection, key_id, budget)
        await self._tell(digest)

    async def find(self, digest: bytes) -> KeySnapshot | None:
        """Look a key up for the data plane; see `KeyStore.find`."""
        return await self._find(digest)

    async def recognise(self, secret: str) -> KeySnapshot | None:
        """Look a key up by its secret."""
        return await self._find(keys.digest(self._secret, secret))

    async def _find(self, digest: bytes) -> KeySnapshot | None:
        query = select(
            api_keys.c.id,
            api_keys.c.organization_id,
            api_keys.c.expires_at,
            api_keys.c.token_ids_from,
            api_keys.c.truncate,
            key_budgets.c.period,
        ).join(key_budgets, key_budgets.c.key_id == api_keys.c.id, isouter=True)
        query = query.where(api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None))
        try:
            async with self._database.read() as connection:
                row = (await connection.execute(query)).one_or_none()
        except (SQLAlchemyError, OSError) as error:
            raise KeyStoreUnavailable from error
        if row is None:
            return None
        return KeySnapshot(
            id=row.id,
            organization_id=row.organization_id,
            expires_at=row.expires_at.timestamp() if row.expires_at else None,
            token_ids_from=row.token_ids_from,
            budget=row.period,
            truncate=row.truncate,
        )

    async def _tell(self, digest: bytes) -> None:
        if self._announce:
            await self._announce(digest)


async def revoke_made_by(
    connection: AsyncConnection, organization_id: str, user_id: str
) -> list[bytes]:
    """End what somebody made for an organization; `tell` of the digests after the commit."""
    now = datetime.now(UTC)
    await alone(connection, f"keys of {organization_id}")  # one that is being made is seen
    ended = await connection.scalars(
        update(api_keys)
        .where(
            api_keys.c.organization_id == organization_id,
            api_keys.c.created_by == user_id,
            api_keys.c.revoked_at.is_(None),
        )
        .values(revoked_at=now, changed_at=now)
        .returning(api_keys.c.digest)
    )
    return list(ended)


class KeyChanges:
    """Reads which keys changed since the last look, in whichever process that was."""

    def __init__(self, database: Database, forget: Callable[[bytes], None]) -> None:
        self._database = database
        self._forget = forget
        self._since = datetime.now(UTC)

    async def read(self) -> None:
        """Have every key forgotten that changed; a look too many does no harm."""
        started = datetime.now(UTC)
        changed = select(api_keys.c.digest).where(api_keys.c.changed_at > self._since - _OVERLAP)
        async with self._database.read() as connection:
            for digest in await connection.scalars(changed):
                self._forget(digest)
        self._since = started


_ANY = select(api_keys.c.id).where(api_keys.c.id == bindparam("key_id"))
_COLUMNS = tuple(name for name in ApiKey.__struct_fields__ if name != "prefix")


async def _limit(connection: AsyncConnection, key_id: str, budget: Budget | None) -> None:
    if budget is None:
        await budgets.remove_budget(connection, key_id)
    else:
        await budgets.set_budget(connection, key_id, budget.limit_nanos, budget.period)


async def _check_room(connection: AsyncConnection, organization_id: str, keys_max: int) -> None:
    day = datetime.now(UTC) - timedelta(days=1)
    query = select(
        func.count().filter(api_keys.c.revoked_at.is_(None)),
        func.count().filter(api_keys.c.created_at > day),
    ).where(api_keys.c.organization_id == organization_id)
    used, made = (await connection.execute(query)).one()
    if used >= keys_max:
        raise TooManyKeys(f"An organization has at most {keys_max} keys: revoke one first.")
    if made >= keys_max:
        raise TooManyKeys(f"An organization makes at most {keys_max} keys a day.")


def _check_limit(limit_nanos: int) -> None:
    if not 1 <= limit_nanos <= NANOS_MAX:
        most = NANOS_MAX // 10**9
        raise BadRequest(
            f"A budget is more than nothing and at most ${most:,}; to stop a key, revoke it.",
            param="budget",
        )


def _key(key_id: str, organization_id: str | None) -> ColumnElement[bool]:
    if not is_id(key_id):
        raise KeyNotFound(f"There is no key {key_id!r}.")
    if organization_id is None:
        return api_keys.c.id == key_id
    return and_(api_keys.c.id == key_id, api_keys.c.organization_id == organization_id)
