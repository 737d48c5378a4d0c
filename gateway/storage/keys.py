"""API keys for the data plane: one statement for many, on a connection of their own.

Neither the statements of the console nor those of the ledger hold them up, and nothing waits in the
pool. A connection whose answer is late or wrong is dropped.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.data_plane.auth.reads import KeyStore, KeyStoreUnavailable
from gateway.snapshots import KeySnapshot, MacSecrets
from gateway.storage.database import Database
from gateway.storage.own_connection import LOST, OwnConnection

_ANSWER_SECONDS = 3.0
_SETTINGS = {
    "application_name": "gateway-keys",
    "jit": "off",
    "lock_timeout": "1s",
    "statement_timeout": "2s",
}
_FIND = """
SELECT digest, id, organization_id, expires_at, token_ids_from, truncate, period, scopes
FROM api_keys LEFT JOIN key_budgets ON key_id = id
WHERE revoked_at IS NULL AND digest {0}
UNION ALL
SELECT previous_digest, id, organization_id,
  CASE WHEN expires_at < previous_until THEN expires_at ELSE previous_until END,
  token_ids_from, truncate, period, scopes
FROM api_keys LEFT JOIN key_budgets ON key_id = id
WHERE revoked_at IS NULL AND previous_digest {0}"""
_MAC_SECRETS = "SELECT secret FROM mac_secrets ORDER BY signs_from DESC"
# read after the secrets: one that is dropped in between has made its keys others
_OTHERS = """
SELECT EXISTS (
  SELECT 1 FROM api_keys WHERE mac_secret_id IS NULL AND revoked_at IS NULL
) OR EXISTS (
  SELECT 1 FROM api_keys WHERE previous_digest IS NOT NULL
  AND previous_mac_secret_id IS NULL AND revoked_at IS NULL
)"""


def open_key_store(database: Database) -> PostgresKeys | SqliteKeys:
    """Return the keys of a database; nothing connects yet."""
    return SqliteKeys(database) if database.is_sqlite else PostgresKeys(database)


class PostgresKeys(KeyStore):
    """The port `KeyStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._own = OwnConnection(database, _SETTINGS)
        self._turn = asyncio.Lock()

    async def find(self, digests: Sequence[bytes]) -> Mapping[bytes, KeySnapshot]:
        """See `KeyStore.find`."""
        rows = await self._fetch(_FIND.format("= ANY ($1)"), digests)
        return {row[0]: _key(row) for row in rows}

    async def mac_secrets(self) -> MacSecrets:
        """See `KeyStore.mac_secrets`."""
        secrets = await self._fetch(_MAC_SECRETS)
        return _mac_secrets(secrets, await self._fetch(_OTHERS))

    async def close(self) -> None:
        """Close the connection."""
        await self._own.close()

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS), self._turn:
                return await self._fetch_alone(statement, *arguments)
        except LOST as error:
            raise KeyStoreUnavailable(f"{type(error).__name__}: {error}") from error

    async def _fetch_alone(self, statement: str, *arguments: Any) -> list[Any]:
        try:
            return list(await (await self._own.prepared(statement)).fetch(*arguments))
        except BaseException:
            self._own.drop()
            raise


class SqliteKeys(KeyStore):
    """The port `KeyStore` on SQLite, in a thread of its own."""

    def __init__(self, database: Database) -> None:
        assert database.url.database
        self._path = Path(database.url.database).absolute().as_uri()
        self._thread = ThreadPoolExecutor(1, "keys")
        self._connection: sqlite3.Connection | None = None

    async def find(self, digests: Sequence[bytes]) -> Mapping[bytes, KeySnapshot]:
        """See `KeyStore.find`."""
        count = 1 << (len(digests) - 1).bit_length()  # so that few statements are prepared
        padded = [*digests, *[digests[-1]] * (count - len(digests))]
        places = ", ".join(f"?{place}" for place in range(1, count + 1))  # each twice
        rows = await self._in_thread(lambda: self._fetch(_FIND.format(f"IN ({places})"), padded))
        return {row[0]: _key(row) for row in rows}

    async def mac_secrets(self) -> MacSecrets:
        """See `KeyStore.mac_secrets`."""
        secrets = await self._in_thread(lambda: self._fetch(_MAC_SECRETS))
        return _mac_secrets(secrets, await self._in_thread(lambda: self._fetch(_OTHERS)))

    async def close(self) -> None:
        """Close the connection."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown()

    async def _in_thread(self, fetch: Callable[[], list[Any]]) -> list[Any]:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._thread, fetch)
        except (sqlite3.Error, TimeoutError) as error:
            raise KeyStoreUnavailable(f"{type(error).__name__}: {error}") from error

    def _fetch(self, statement: str, arguments: Sequence[bytes] = ()) -> list[Any]:
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(f"{self._path}?mode=ro", uri=True)
            return self._connection.execute(statement, arguments).fetchall()
        except sqlite3.Error:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _key(row: Sequence[Any]) -> KeySnapshot:
    _, key_id, organization_id, expires_at, token_ids_from, truncate, period, scopes = row
    return KeySnapshot(
        id=str(key_id),
        organization_id=str(organization_id),
        expires_at=_seconds(expires_at) if expires_at else None,
        token_ids_from=token_ids_from,
        truncate=truncate,
        budget=period,
        scopes=tuple(scopes.split()),
    )


def _seconds(moment: datetime | str) -> float:
    """Return Unix time; SQLite has moments as text."""
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).timestamp()


def _mac_secrets(secrets: list[Any], others: list[Any]) -> MacSecrets:
    return MacSecrets(secrets=tuple(row[0] for row in secrets), others=bool(others[0][0]))
