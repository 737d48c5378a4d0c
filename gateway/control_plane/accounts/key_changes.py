"""How a change of a key reaches every process, even when its announcement is lost.

A change is announced through Redis (`storage.redis`) at once; this job reads the changes from the
database as well, so a lost announcement costs half a second, not a revocation.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import select

from gateway import wall
from gateway.control_plane.accounts.key_revocation import DIGESTS, digests_of
from gateway.storage.database import Database
from gateway.storage.tables import api_keys

_OVERLAP = timedelta(seconds=10)
"""How long after its time a change may be committed."""
_CLOCKS = timedelta(hours=1)
"""How far this process's clock may be ahead of the database's; it is used for the first read."""


class KeyChanges:
    """Reads which keys any process changed; `read` is a job. All times are the database's."""

    def __init__(
        self,
        database: Database,
        forget: Callable[[bytes], None],
        outdate: Callable[[bytes], None],
    ) -> None:
        self._database = database
        self._forget = forget
        self._outdate = outdate
        self._until = wall.now() - _CLOCKS
        self._told: set[tuple[bytes, datetime]] = set()
        """The changes since `_until` less the overlap; each is told once."""

    async def read(self) -> None:
        """Forget every secret that was ended since the last time, and outdate all that changed."""
        key = api_keys.c
        recent = key.changed_at > self._until - _OVERLAP
        query = select(*DIGESTS, key.changed_at, key.revoked_at).where(recent)
        async with self._database.read() as connection:
            changes = {
                (digest, row.changed_at): row.revoked_at is None and digest == row.digest
                for row in await connection.execute(query)
                for digest in digests_of(row)
            }
        for digest, changed_at in changes.keys() - self._told:
            is_good = changes[digest, changed_at]
            (self._outdate if is_good else self._forget)(digest)
            self._until = max(self._until, changed_at)
        self._told = set(changes)
