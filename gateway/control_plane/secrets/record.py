"""Which secrets this database was used with, by their fingerprints: a wrong one ends the start.

The first process writes them down. A process without a secret on which something still hangs does
not start either: a good API key would be refused, or what is sealed could not be read.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec
import structlog
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.secrets import lasting
from gateway.control_plane.secrets.dependents import Dependents, dependents
from gateway.keyring import CHARACTERS_MIN, Keyring
from gateway.settings import SettingsError
from gateway.storage.clock import clock
from gateway.storage.database import Database, alone, insert_into
from gateway.storage.tables import api_keys, known_secrets

log = structlog.get_logger()


class WrongSecret(SettingsError):
    """GATEWAY_SECRET does not fit this database; the text names no secret."""


class KnownSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that this database was used with."""

    fingerprint: str
    seen_at: datetime
    first_at: datetime | None
    retired_at: datetime | None


async def register(database: Database, keyring: Keyring) -> None:
    """Write down what this process makes and verifies with. Raises WrongSecret."""
    async with database.write() as connection:
        await alone(connection, "secrets")
        known = await listed(connection)
        if not known:
            await _found(connection, keyring)
        else:
            await check(connection, keyring, known)
        await lasting.keep(connection, keyring)
        await _note(connection, keyring, known)


async def enter(database: Database, keyring: Keyring) -> None:
    """Hold the secrets of a command that makes something against the database's.

    The first one to do so writes them down; which one makes is for gateways to say. Raises
    WrongSecret.
    """
    async with database.read() as connection:
        is_known = await hold(connection, keyring)
    if not is_known:
        await register(database, keyring)


async def hold(connection: AsyncConnection, keyring: Keyring) -> bool:
    """Hold the secrets against the database's, if it knows one. Raises WrongSecret."""
    known = await listed(connection)
    if known:
        await check(connection, keyring, known)
    return bool(known)


async def check(
    connection: AsyncConnection, keyring: Keyring, known: Collection[KnownSecret]
) -> None:
    """Hold the secrets against those that are known. Raises WrongSecret."""
    ours = set(keyring.fingerprints)
    in_use = {one.fingerprint for one in known if one.retired_at is None}
    if not in_use & ours:
        raise WrongSecret(
            f"GATEWAY_SECRET (fingerprint {', '.join(keyring.fingerprints)}) is not the secret "
            f"that this database was used with ({', '.join(sorted(in_use))}); a comma separates "
            f"two secrets, of at least {CHARACTERS_MIN} characters each"
        )
    for missing in sorted(in_use - ours):
        found = await dependents(connection, keyring, missing)
        if found.must_stay:
            raise WrongSecret(
                f"GATEWAY_SECRET lacks the secret with the fingerprint {missing}, and "
                f"{_words(found)} still depend on it: add it after a comma, or see "
                f"`gateway secrets retire {missing}`"
            )


async def listed(connection: AsyncConnection) -> list[KnownSecret]:
    """Return the secrets that this database was used with, the newest first one first."""
    query = select(known_secrets).order_by(
        known_secrets.c.first_at.desc().nulls_last(), known_secrets.c.seen_at
    )
    return [KnownSecret(**row) for row in (await connection.execute(query)).mappings()]


async def unstarted(connection: AsyncConnection) -> dict[str, int]:
    """Count keys in use under secrets that no gateway has started with, by fingerprint: imported.

    They can't work yet. Before the first start there are none: any secret fits.
    """
    known = {one.fingerprint for one in await listed(connection)}
    query = (
        select(api_keys.c.digest_secret, func.count())
        .where(api_keys.c.revoked_at.is_(None), api_keys.c.digest_secret.not_in(known))
        .group_by(api_keys.c.digest_secret)
        .order_by(api_keys.c.digest_secret)
    )
    found = (await connection.execute(query)).all() if known else []
    return {fingerprint: keys for fingerprint, keys in found if fingerprint}


def unstarted_words(fingerprint: str, keys: int) -> str:
    """Say what such keys need."""
    return (
        f"{keys} API {'key is' if keys == 1 else 'keys are'} under the secret with the fingerprint "
        f"{fingerprint}, which no gateway has started with: put it at the end of GATEWAY_SECRET of "
        "all gateways, or they get 401"
    )


async def retire(connection: AsyncConnection, fingerprint: str) -> None:
    """Let processes start without a secret, whatever depends on it."""
    await connection.execute(
        update(known_secrets)
        .where(known_secrets.c.fingerprint == fingerprint)
        .values(retired_at=clock())
    )


async def _found(connection: AsyncConnection, keyring: Keyring) -> None:
    """See that the first secrets that are noted are those of the rows that there are."""
    under = select(api_keys.c.digest_secret).where(api_keys.c.revoked_at.is_(None)).distinct()
    made_by = set(await connection.scalars(under)) - {None, *keyring.fingerprints}
    if made_by:
        raise WrongSecret(
            f"GATEWAY_SECRET (fingerprint {', '.join(keyring.fingerprints)}) is not the secret "
            f"that API keys of this database were made with ({', '.join(sorted(made_by))})"
        )
    is_used = await connection.scalar(select(api_keys.c.id).limit(1)) is not None
    if is_used and len(keyring.all) > 1:
        raise WrongSecret(
            "GATEWAY_SECRET holds several secrets, and this database does not know yet which one "
            "it was used with: start once with that one alone, then rotate"
        )


async def _note(
    connection: AsyncConnection, keyring: Keyring, known: Collection[KnownSecret]
) -> None:
    """Add the secrets that are new, retire those that are gone, and say which one makes."""
    ours, noted = keyring.fingerprints, {one.fingerprint for one in known}
    for one in known:
        if one.retired_at is None and one.fingerprint not in ours:
            log.info("a secret is retired: nothing depends on it", fingerprint=one.fingerprint)
            await retire(connection, one.fingerprint)
    for fingerprint in ours:
        await connection.execute(
            insert_into(connection, known_secrets)
            .values(fingerprint=fingerprint, seen_at=clock())
            .on_conflict_do_update(index_elements=["fingerprint"], set_={"retired_at": None})
        )
    makes = next((one.fingerprint for one in known if one.first_at is not None), None)
    if makes != ours[0]:
        if known and ours[0] not in noted:
            log.warning(
                "the first secret of GATEWAY_SECRET is new: processes that lack it refuse what "
                "this one makes; add it as the second one everywhere first (docs/secrets.md)",
                fingerprint=ours[0],
            )
        await connection.execute(
            update(known_secrets)
            .where(known_secrets.c.fingerprint == ours[0])
            .values(first_at=clock())
        )


def _words(found: Dependents) -> str:
    words = {
        "API keys": found.api_keys,
        "webhooks": found.webhooks,
        "authenticator apps": found.authenticators,
        "sealed secrets of digests": found.lasting,
    }
    return ", ".join(f"{count} {name}" for name, count in words.items() if count)
