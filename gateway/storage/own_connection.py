"""A connection to PostgreSQL that one part of a process has to itself, beside the engine's pool."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from gateway.storage.database import Database, connect

CONNECT_SECONDS = 2.0
LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a statement raises when it failed, was too late, or its connection was lost."""


class OwnConnection:
    """Connects when it is first used, and again after `drop`. Used by one task at a time."""

    def __init__(self, database: Database, settings: Mapping[str, str]) -> None:
        self._url = database.url
        self._settings = dict(settings)
        self._connection: asyncpg.Connection | None = None
        self._prepared: dict[str, PreparedStatement] = {}

    async def prepared(self, query: str) -> PreparedStatement:
        """Return a statement that is prepared once a connection. Raises one of LOST."""
        if self._connection is None or self._connection.is_closed():
            self._prepared = {}
            self._connection = await connect(
                self._url, seconds=CONNECT_SECONDS, settings=self._settings
            )
        statement = self._prepared.get(query)
        if statement is None:
            statement = await self._connection.prepare(query, timeout=CONNECT_SECONDS)
            self._prepared[query] = statement
        return statement

    def drop(self) -> None:
        """Drop the connection because its state is unknown, without waiting for it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(*LOST):
                await connection.close(timeout=CONNECT_SECONDS)
