"""API keys: created, listed, changed, revoked; stored as digests.

A change is announced to this process and, through Redis if there is one, to all others; see
`key_changes` for lost announcements. What requests find by a key is in `storage.keys`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, insert, select, update

from gateway import wall
from gateway.control_plane.accounts import (
    key_limits,
    key_revocation,
    key_trail,
    mac_secrets,
    memberships,
)
from gateway.control_plane.accounts.api_key import COLUMNS, ApiKey, NewApiKey
from gateway.control_plane.accounts.key_limits import KeyLimits
from gateway.control_plane.accounts.key_revocation import DIGESTS, KeyNotFound, digests_of, own
from gateway.control_plane.accounts.key_trail import Doer
from gateway.control_plane.accounts.organizations import clean_name
from gateway.control_plane.accounts.security_mails import SecurityMails
from gateway.data_plane.auth import keys
from gateway.data_plane.metering.port import Period
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.snapshots import Scope, TokenIdsFrom, Truncate
from gateway.storage.clock import clock
from gateway.storage.database import Database, alone
from gateway.storage.ledger import budgets
from gateway.storage.ledger.budgets import Budget, Spent
from gateway.storage.ledger.postings import database_now
from gateway.storage.tables import api_keys

DEFAULT_SCOPES: tuple[Scope, ...] = ("embed",)
"""What a key may do unless more is asked for: one in a notebook should not show the money."""
OVERLAP_HOURS_MAX = 24 * 30
"""How long a rotated key's previous secret may keep working."""
Announce = Callable[[bytes], Awaitable[None]]
"""Announces the digest of a key that changed."""


class KeyMade(BadRequest):
    """The same form was sent before and made its key."""

    status = 409
    code = "key_made"


class KeyChanged(BadRequest):
    """Someone changed the key since the page was opened."""

    status = 409
    code = "key_changed"


class ApiKeys:
    """Manages keys. `secret` keys the digests; `announce` is called after each change.

    With `mails`, people are told of each new key.
    """

    def __init__(
        self,
        database: Database,
        *,
        secret: Keyring,
        announce: Announce | None = None,
        mails: SecurityMails | None = None,
    ) -> None:
        self._database = database
        self._secret = secret
        self._announce = announce
        self._mails = mails

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
        scopes: Sequence[Scope] = DEFAULT_SCOPES,
        keys_max: int | None = None,
        key_id: str | None = None,
        doer: Doer | None = None,
    ) -> NewApiKey:
        """Create a key. Raises BadRequest for an invalid name, expiry, budget or no scope.

        `keys_max` limits both the keys in use and those made in a day; raises TooManyKeys.
        `key_id` makes the call idempotent: raises KeyMade if that key exists. `doer` is whom
        the audit trail names, here and in the other methods; without one nothing is recorded.
        """
        if budget is not None:
            key_limits.check_budget(budget.limit_nanos)
        if expires_at is not None and expires_at <= wall.now():
            raise BadRequest("The expiry is in the past.", param="expires_at")
        name = clean_name(name)
        async with self._database.write() as connection:
            await alone(connection, f"keys of {organization_id}")
            if created_by is not None:
                await memberships.must_belong(connection, organization_id, created_by)
            if key_id and await connection.scalar(_ANY, {"key_id": key_id}):
                raise KeyMade(
                    "This form was sent twice. Its key was created the first time and is shown "
                    "only once. If you did not save it, revoke it and create another."
                )
            if keys_max is not None:
                await key_limits.check_room(connection, organization_id, keys_max)
            mac_secret = await mac_secrets.signing(connection)
            now, secret = await database_now(connection), keys.mint(mac_secret.secret)
            key = ApiKey(
                id=key_id or new_id(),
                organization_id=organization_id,
                name=name,
                last_four=secret[-4:],
                scopes=key_limits.checked_scopes(scopes),
                previous_until=None,
                token_ids_from=token_ids_from,
                truncate=truncate,
                created_at=now,
                created_by=created_by,
                expires_at=expires_at,
                revoked_at=None,
            )
            digest = self._secret.digest(secret)
            await connection.execute(
                insert(api_keys).values(
                    digest=digest,
                    digest_secret=self._secret.fingerprints[0],
                    changed_at=now,
                    mac_secret_id=mac_secret.id,
                    **{column: getattr(key, column) for column in COLUMNS},
                )
            )
            if budget is not None:  # in the same transaction: never without its budget
                await budgets.set_budget(connection, key.id, budget.limit_nanos, budget.period)
            if self._mails:
                await self._mails.key_made(
                    connection,
                    organization_id,
                    name=key.name,
                    last_four=key.last_four,
                    user_id=created_by,
                )
            await key_trail.created(
                connection, doer, organization_id, key.id, expires_at, KeyLimits(budget, key.scopes)
            )
        await self._tell(digest)
        return NewApiKey(key, secret)

    async def listed(self, organization_id: str | None = None) -> list[ApiKey]:
        """Return an organization's keys, or all, oldest first, including revoked ones.

        Unbounded, for operators; pages use `key_listing`.
        """
        query = select(*(api_keys.c[name] for name in COLUMNS)).order_by(api_keys.c.id)
        if organization_id is not None:
            query = query.where(api_keys.c.organization_id == organization_id)
        async with self._database.read() as connection:
            found = await connection.execute(query)
            return [ApiKey(**row) for row in found.mappings()]

    async def budgets(self, organization_id: str) -> dict[str, Spent]:
        """Return the budgets of an organization's keys, by key id."""
        async with self._database.read() as connection:
            return await budgets.of_organization(connection, organization_id, wall.now())

    async def change(
        self,
        key_id: str,
        *,
        organization_id: str,
        name: str,
        token_ids_from: TokenIdsFrom | None,
        truncate: Truncate | None,
        budget: Budget | None,
        scopes: Sequence[Scope],
        seen: datetime | None = None,
        doer: Doer | None = None,
    ) -> None:
        """Replace a key's settings. Raises KeyNotFound, or BadRequest for an invalid value.

        With `seen`, raises KeyChanged if someone changed the key after that time.
        """
        if budget is not None:
            key_limits.check_budget(budget.limit_nanos)
        allowed = key_limits.checked_scopes(scopes)
        said = {
            "name": clean_name(name),
            "scopes": allowed,
            "token_ids_from": token_ids_from,
            "truncate": truncate,
        }
        key = and_(own(key_id, organization_id), api_keys.c.revoked_at.is_(None))
        last = (
            select(*DIGESTS, api_keys.c.changed_at, api_keys.c.scopes).where(key).with_for_update()
        )
        async with self._database.write() as connection:
            row = (await connection.execute(last)).one_or_none()
            if row is None:
                raise KeyNotFound("There is no such key.")
            if seen is not None and row.changed_at != seen:
                raise KeyChanged(
                    "Someone changed this key after you opened the page, so nothing was saved. "
                    "Your changes are still below: compare them and save again to apply them."
                )
            await connection.execute(update(api_keys).where(key).values(changed_at=clock(), **said))
            before = await key_limits.budget_of(connection, key_id)
            await key_limits.set_budget(connection, key_id, budget)
            await key_trail.changed(
                connection,
                doer,
                organization_id,
                key_id,
                KeyLimits(before, row.scopes),
                KeyLimits(budget, allowed),
            )
        await self.tell(digests_of(row))

    async def rotate(
        self,
        key_id: str,
        *,
        overlap: timedelta,
        organization_id: str | None = None,
        doer: Doer | None = None,
    ) -> NewApiKey:
        """Give a key a new secret; the one before works for `overlap` more.

        An even older one ends as well; where its announcement is lost, within a minute. With an
        organization, whoever does it must belong to it. Raises KeyNotFound, MemberNotFound.
        """
        key = and_(own(key_id, organization_id), api_keys.c.revoked_at.is_(None))
        by = doer.actor.user_id if doer else None
        async with self._database.write() as connection:
            if organization_id is not None and by is not None:
                await alone(connection, f"keys of {organization_id}")  # as `revoke_known_to` does
                await memberships.must_belong(connection, organization_id, by)
            before = (
                await connection.execute(select(api_keys).where(key).with_for_update())
            ).one_or_none()
            if before is None:
                raise KeyNotFound(f"There is no key {key_id!r} in use.")
            mac_secret = await mac_secrets.signing(connection)
            secret = keys.mint(mac_secret.secret)
            changed = await connection.execute(
                update(api_keys)
                .where(key)
                .values(
                    digest=self._secret.digest(secret),
                    digest_secret=self._secret.fingerprints[0],
                    last_four=secret[-4:],
                    mac_secret_id=mac_secret.id,
                    rotated_by=by,
                    previous_digest=before.digest,  # kept without an overlap too: others are told
                    previous_digest_secret=before.digest_secret,
                    previous_until=clock(overlap),
                    previous_mac_secret_id=before.mac_secret_id,
                    previous_rotated_by=before.rotated_by,
                    changed_at=clock(),
                )
                .returning(*(api_keys.c[name] for name in COLUMNS))
            )
            made = ApiKey(**changed.mappings().one())
            if self._mails:
                await self._mails.key_rotated(
                    connection,
                    made.organization_id,
                    name=made.name,
                    last_four=made.last_four,
                    user_id=by,
                )
            await key_trail.rotated(connection, doer, made.organization_id, key_id, overlap)
        await self.tell(digests_of(before))
        return NewApiKey(made, secret)

    async def revoke(
        self, key_id: str, *, organization_id: str | None = None, doer: Doer | None = None
    ) -> bool:
        """Revoke a key for good; return whether it was in use. Raises KeyNotFound.

        With an organization, other organizations' keys are not found.
        """
        async with self._database.write() as connection:
            digests = await key_revocation.revoke(connection, key_id, organization_id, doer=doer)
        await self.tell(digests)
        return bool(digests)

    async def tell(self, digests: Iterable[bytes]) -> None:
        """Announce changed keys; call it after the commit."""
        await asyncio.gather(*(self._tell(digest) for digest in digests))

    async def set_budget(
        self,
        key_id: str,
        limit_nanos: int | None,
        period: Period = "month",
        *,
        organization_id: str | None = None,
        doer: Doer | None = None,
    ) -> None:
        """Limit what a key may spend per month or in total; None removes the limit.

        Raises KeyNotFound, or BadRequest for an impossible amount.
        """
        if limit_nanos is not None:
            key_limits.check_budget(limit_nanos)
        key = own(key_id, organization_id)
        async with self._database.write() as connection:
            changed = update(api_keys).where(key).values(changed_at=clock())
            row = (
                await connection.execute(
                    changed.returning(*DIGESTS, api_keys.c.organization_id, api_keys.c.scopes)
                )
            ).one_or_none()
            if row is None:
                raise KeyNotFound(f"There is no key {key_id!r}.")
            budget = None if limit_nanos is None else Budget(limit_nanos=limit_nanos, period=period)
            before = await key_limits.budget_of(connection, key_id)
            await key_limits.set_budget(connection, key_id, budget)
            await key_trail.changed(
                connection,
                doer,
                row.organization_id,
                key_id,
                KeyLimits(before, row.scopes),
                KeyLimits(budget, row.scopes),
            )
        await self.tell(digests_of(row))

    async def recognize(self, secret: str) -> str | None:
        """Return the id of the key with this secret; None if it is revoked or unknown."""
        query = select(api_keys.c.id).where(
            api_keys.c.digest.in_(self._secret.digests(secret)), api_keys.c.revoked_at.is_(None)
        )
        async with self._database.read() as connection:
            key_id: str | None = await connection.scalar(query)
        return key_id

    async def _tell(self, digest: bytes) -> None:
        if self._announce:
            await self._announce(digest)


_ANY = select(api_keys.c.id).where(api_keys.c.id == bindparam("key_id"))
