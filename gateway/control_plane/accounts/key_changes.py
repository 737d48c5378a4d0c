"""How a change of a key reaches every process, even when its announcement is lost.

A change is announced through Redis (`storage.redis`) at once; this job reads the changes from the
database as well, so a lost announcement costs half a second, not a revocation.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from gateway.storage.database import Database
from gateway.storage.tables import api_keys

# clocks of two processes may differ by this much without a change being missed
_OVERLAP = timedelta(seconds=10)


class KeyChanges:
    """Reads which keys any process changed; `read` is a job."""

    def __init__(self, database: Database, forget: Callable[[bytes], None]) -> None:
        self._database = database
        self._forget = forget
        self._since = datetime.now(UTC)

    async def read(self) -> None:
        """Forget every key that changed since the last time; once too often is harmless."""
        started = datetime.now(UTC)
        changed = select(api_keys.c.digest).where(api_keys.c.changed_at > self._since - _OVERLAP)
        async with self._database.read() as connection:
            for digest in await connection.scalars(changed):
                self._forget(digest)
        self._since = started
