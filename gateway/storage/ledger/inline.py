"""Runs coroutines over a connection that answers at once, to completion in the calling thread.

The moves of money in postings.py are coroutines, since the rest of the process must not block. A
tick on SQLite is one call in a thread of its own, where nothing has to wait: there the same
coroutines run over an `Inline` connection.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, CursorResult, Dialect, Executable, ScalarResult

T = TypeVar("T")


class Inline:
    """What the ledger uses of an AsyncConnection, over a plain one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def dialect(self) -> Dialect:
        """See `AsyncConnection.dialect`."""
        return self._connection.dialect

    async def execute(self, statement: Executable, values: Any = None) -> CursorResult[Any]:
        """See `AsyncConnection.execute`."""
        return self._connection.execute(statement, values)

    async def scalar(self, statement: Executable) -> Any:
        """See `AsyncConnection.scalar`."""
        return self._connection.scalar(statement)

    async def scalars(self, statement: Executable) -> ScalarResult[Any]:
        """See `AsyncConnection.scalars`."""
        return self._connection.scalars(statement)


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    coroutine.close()
    raise AssertionError("a coroutine over an inline connection waited")


def instant(moment: datetime) -> str:
    """Return a moment as `Instant` stores it on SQLite."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def as_json(value: object) -> str:
    """Return a statement's rows as the one value that it takes them from."""
    return msgspec.json.encode(value).decode()
