"""Tells owners of keys that are about to expire: 30, 10 and 1 days before, each once.

A step counts only for keys that lived before it: a key made for a week is not told to expire in 10
days. Of several steps missed at once, the last one is told. A revoked key is silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy import Row, select

from gateway.control_plane.alerts import walks
from gateway.control_plane.alerts.notices import Notice, publish
from gateway.storage.database import Database, skipping
from gateway.storage.tables import api_keys, notices

DAYS = (1, 10, 30)
BATCH = 200
TURN_SECONDS = 30.0
"""How long one run goes on; the next continues."""
AGAIN_SECONDS = 300.0
"""How long after a walk the next one begins."""

_NAME = "expiring keys"
_DAY = timedelta(days=1)


async def warn(database: Database, *, at: datetime | None = None) -> int:
    """Tell what is due, and return how many notices are new. `at` is the time, in tests."""
    walk = await walks.claim(database, _NAME)
    if walk is None:
        return 0
    now, told, after, ends = at or walk.began_at, 0, walk.after, monotonic() + TURN_SECONDS
    while monotonic() < ends:
        keys = await _keys(database, now, after)
        told += await _tell(database, keys, now)
        if len(keys) < BATCH:
            await walks.finish(database, walk, again_seconds=AGAIN_SECONDS)
            return told
        after = keys[-1].id
        await walks.advance(database, _NAME, after)
    await walks.pause(database, _NAME)
    return told


async def _keys(database: Database, now: datetime, after: str) -> Sequence[Row[Any]]:
    query = select(api_keys).where(
        api_keys.c.expires_at > now,
        api_keys.c.expires_at <= now + DAYS[-1] * _DAY,
        api_keys.c.revoked_at.is_(None),
    )
    if after:
        query = query.where(api_keys.c.id > after)
    async with database.read() as connection:
        return (await connection.execute(query.order_by(api_keys.c.id).limit(BATCH))).all()


async def _tell(database: Database, keys: Sequence[Row[Any]], now: datetime) -> int:
    due = {_ref(key, step): key for key in keys if (step := _step(key, now))}
    known = select(notices.c.ref).where(
        notices.c.organization_id.in_({key.organization_id for key in due.values()}),
        notices.c.ref.in_(due),
    )
    async with database.read() as connection:
        told = set(await connection.scalars(known)) if due else set()
    new = 0
    for ref, key in due.items():
        if ref not in told:
            with skipping("the end of a key is not told", key=key.id):
                async with database.write() as connection:
                    new += await publish(connection, key.organization_id, _notice(key, ref, now))
    return new


def _step(key: Row[Any], now: datetime) -> int | None:
    """Return the step that a key has reached, None if it was made after that."""
    step = next(days for days in DAYS if key.expires_at - now <= days * _DAY)
    return step if key.expires_at - key.created_at > step * _DAY else None


def _ref(key: Row[Any], step: int) -> str:
    return f"key.expiring:{key.id}:{step}"


def _notice(key: Row[Any], ref: str, now: datetime) -> Notice:
    data = {
        "key_id": key.id,
        "key_name": key.name,
        "last_four": key.last_four,
        "days": -(-(key.expires_at - now) // _DAY),
        "expires_at": key.expires_at.isoformat(),
    }
    return Notice("key.expiring", ref, data, now)
