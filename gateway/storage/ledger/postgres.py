"""The ledger on PostgreSQL: a tick is one call of a function, on a connection of its own.

The functions are in migrations/functions. One statement outside any transaction block means that a
process that is paused or killed holds no lock for longer than the statement takes.

Processes of one shard write the same rows of hours and days, and a tick locks them in the order in
which triggers come to them: first those of hours that it begins, then the others. Around a full
hour that is no order that two ticks share, so there those with usage take turns: a lock of their
shard is the first that they ask for, and held until their commit. At other times they don't, since
who waits for one customer's rows would make a sibling wait that has nothing to do with them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from gateway.data_plane.metering.messages import LedgerUnavailable, Tick, TickAnswer
from gateway.storage.database import Database

_SHARDS_LOCK = 0x57E11D  # any number, the same in every process
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 6.0
_SETTINGS = {
    "application_name": "gateway-ledger",
    "jit": "off",
    "idle_in_transaction_session_timeout": "1s",
    "lock_timeout": "2s",
    "statement_timeout": "4s",
}
_TICK = "SELECT ledger_tick($1::text::jsonb, coalesce($2::timestamptz, clock_timestamp()))::text"
# what stands in FROM is computed first
_TICK_IN_TURN = f"{_TICK} FROM pg_advisory_xact_lock({_SHARDS_LOCK}, $3::int)"
_HOUR_MS = 3_600_000
_BEFORE_MS, _AFTER_MS = 5_000, 30_000


class _Used(msgspec.Struct):
    created_ms: int


class PostgresLedger:
    """The port `Ledger` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._address = database.url.set(drivername="postgresql").render_as_string(
            hide_password=False
        )
        self._connection: asyncpg.Connection | None = None

    async def tick(self, tick: Tick, at: datetime | None = None) -> TickAnswer:
        """Apply a tick; see `Ledger.tick`. `at` stands in for the database's clock in tests."""
        message = msgspec.json.encode(tick).decode()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                connection = await self._connected()
                if tick.usage and _is_around_an_hour(tick.usage):
                    answer = await connection.fetchval(_TICK_IN_TURN, message, at, tick.shard)
                else:
                    answer = await connection.fetchval(_TICK, message, at)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._drop()
            raise LedgerUnavailable(f"{type(error).__name__}: {error}") from error
        except BaseException:
            self._drop()
            raise
        return msgspec.json.decode(answer, type=TickAnswer)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
                await connection.close(timeout=_CONNECT_SECONDS)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._address, timeout=_CONNECT_SECONDS, server_settings=_SETTINGS
            )
        return self._connection

    def _drop(self) -> None:
        """Forget a connection whose state is unknown, without waiting for it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _is_around_an_hour(usage: Sequence[msgspec.Raw]) -> bool:
    """Tell whether usage, in the order of its time, may begin an hour: its own, or a sibling's."""
    first, last = (msgspec.json.decode(usage[n], type=_Used).created_ms for n in (0, -1))
    since = (last + _BEFORE_MS) % _HOUR_MS
    return first // _HOUR_MS != last // _HOUR_MS or since < _BEFORE_MS + _AFTER_MS
