"""Digests of API keys, made anew under the first secret when their key is used.

Only the process that started last with another first secret does so: while a rotation rolls out,
those before it would else undo it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import update

from gateway.control_plane.secrets.making import making
from gateway.storage.database import Database
from gateway.storage.tables import api_keys


class Remaking:
    """Writes digests; `run` is a job. `take` returns those to write: the old one, the new one."""

    def __init__(
        self,
        database: Database,
        take: Callable[[], Mapping[bytes, bytes]],
        *,
        fingerprint: str,
    ) -> None:
        self._database = database
        self._take = take
        self._fingerprint = fingerprint
        """Of the secret that the new digests are under."""

    async def run(self) -> None:
        """Write the digests of the keys that were found by an older secret."""
        found = self._take()
        if not found:
            return
        may = making() == self._fingerprint
        key, under = api_keys.c, self._fingerprint
        async with self._database.write() as connection:
            for old in sorted(found):  # in order, so that no two processes wait for each other
                new = found[old]
                await connection.execute(
                    update(api_keys)
                    .where(key.digest == old, may)
                    .values(digest=new, digest_secret=under)
                )
                await connection.execute(
                    update(api_keys)
                    .where(key.previous_digest == old, may)
                    .values(previous_digest=new, previous_digest_secret=under)
                )
