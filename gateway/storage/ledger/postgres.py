"""The ledger on PostgreSQL: a tick is one call of `ledger_tick`, on its own connection.

That function fences leases, charges usage and grants credit: migrations/sql/0001_lease_fencing.sql.
The same statement writes the root of the tick's receipts, only once however often it is sent. It
runs outside any transaction block, so a process that is paused or killed holds no lock for longer
than the statement takes.

Processes of one shard write the same rows of hours and days, in the order in which triggers reach
them: first the hours that a tick begins, then the others. Around a full hour two ticks don't share
that order and could deadlock, so there ticks with usage take turns: each takes a lock of its shard
first and holds it until its commit. At other times they don't, since a tick that waits for one
customer's row would hold up unrelated siblings.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from gateway.data_plane.metering.messages import Tick, TickAnswer, UsageLine
from gateway.storage.database import Database, refuses
from gateway.storage.ledger import freezes, grants, strangers
from gateway.storage.own_connection import LOST, OwnConnection

_SHARDS_LOCK = 0x57E11D  # any number, the same in every process
_ANSWER_SECONDS = 6.0
_SETTINGS = {
    "application_name": "gateway-ledger",
    "jit": "off",
    "idle_in_transaction_session_timeout": "1s",
    "lock_timeout": "2s",
    "statement_timeout": "4s",
}
_TICK = """
WITH message AS MATERIALIZED (SELECT $1::text::jsonb AS tick),
rooted AS (SELECT tick->'root' AS root FROM message WHERE tick->'root' <> 'null'),
added AS (
    INSERT INTO receipt_roots (id, size, root, previous, key_id, signature)
    SELECT (root->>'id')::uuid, (root->>'size')::int, decode(root->>'root', 'base64'),
        decode(root->>'previous', 'base64'), root->>'key_id', decode(root->>'signature', 'base64')
    FROM rooted ON CONFLICT (id) DO NOTHING),
signed AS (  -- once a process: with the first root of its chain
    INSERT INTO receipt_keys (id, public, created_at)
    SELECT root->>'key_id', decode(root->>'key', 'base64'), clock_timestamp()
    FROM rooted WHERE decode(root->>'previous', 'base64') = decode(repeat('00', 32), 'hex')
    ON CONFLICT (id) DO NOTHING)
SELECT ledger_tick(tick, coalesce($2::timestamptz, clock_timestamp()))::text FROM message"""
# FROM is evaluated first
_TICK_IN_TURN = f"{_TICK}, pg_advisory_xact_lock({_SHARDS_LOCK}, $3::int)"
_HOUR_MS = 3_600_000
_BEFORE_MS, _AFTER_MS = 5_000, 30_000


class _Used(msgspec.Struct):
    created_ms: int


class PostgresLedger:
    """The port `Ledger` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._own = OwnConnection(database, _SETTINGS)

    async def tick(self, tick: Tick, at: datetime | None = None) -> TickAnswer:
        """Apply a tick; see `Ledger.tick`. `at` stands in for the database's clock in tests."""
        message = msgspec.json.encode(tick).decode()
        try:
            if tick.usage and _is_around_an_hour(tick.usage):
                statement = await self._own.prepared(_TICK_IN_TURN)
                answer = await statement.fetchval(message, at, tick.shard, timeout=_ANSWER_SECONDS)
            else:
                statement = await self._own.prepared(_TICK)
                answer = await statement.fetchval(message, at, timeout=_ANSWER_SECONDS)
        except LOST as error:
            if not refuses(error):  # else it was rolled back, and the connection is as before
                self._own.drop()
            raise freezes.ledger_error(error) from error
        except BaseException:
            self._own.drop()
            raise
        return msgspec.json.decode(answer, type=TickAnswer)

    async def credit_back(self, line: UsageLine) -> int:
        """See `Ledger.credit_back`."""
        return await grants.credit_back(self._database, line)

    async def strangers(self, lines: Sequence[UsageLine]) -> set[str]:
        """See `Ledger.strangers`."""
        return await strangers.find(self._database, lines)

    async def freeze(self, organization_id: str, reason: str) -> bool:
        """See `Ledger.freeze`."""
        return await freezes.freeze_refused(self._database, organization_id, reason)

    async def close(self) -> None:
        """Close the connection."""
        await self._own.close()


def _is_around_an_hour(usage: Sequence[msgspec.Raw]) -> bool:
    """Return whether usage, sorted by time, is so near a full hour that it may begin one."""
    first, last = (msgspec.json.decode(usage[n], type=_Used).created_ms for n in (0, -1))
    since = (last + _BEFORE_MS) % _HOUR_MS
    return first // _HOUR_MS != last // _HOUR_MS or since < _BEFORE_MS + _AFTER_MS
