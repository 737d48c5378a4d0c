"""The ledger on SQLite: leases are kept, closed, granted, denied and recalled here.

The fence of a lease, and how usage is charged, is in fencing.py. A tick is one transaction, which
does what `ledger_tick` does on PostgreSQL, in one call on a thread: what every tick does takes a
few prepared statements, and the rare rest is shared with PostgreSQL in postings.py. SQLite has one
writer at a time, so there are no locks to order; a tick takes its turn among this process's tasks.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.data_plane.metering.messages import (
    LeaseAnswer,
    LeaseLine,
    RootLine,
    Tick,
    TickAnswer,
    UsageLine,
)
from gateway.data_plane.metering.receipts import FIRST
from gateway.storage.database import Database
from gateway.storage.ledger import freezes, grants, postings, strangers
from gateway.storage.ledger.fencing import FencedUsage
from gateway.storage.ledger.inline import Inline, finish, instant
from gateway.storage.tables import api_keys, key_budgets, leases

_RECALL = timedelta(seconds=1)
"""How long a recall holds."""


class SqliteLedger:
    """The port `Ledger` on SQLite, over a connection of its own in a thread of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._engine = database.blocking()
        self._connection: Connection | None = None

    async def tick(self, tick: Tick, at: datetime | None = None) -> TickAnswer:
        """Apply a tick; see `Ledger.tick`. `at` stands in for the clock in tests."""
        loop = asyncio.get_running_loop()
        try:
            async with self._database.turn():
                return await loop.run_in_executor(self._thread, self._apply, tick, at)
        except (AssertionError, sqlite3.Error, SQLAlchemyError, OSError) as error:
            raise freezes.ledger_error(error) from error

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
        """Close the connection, once the tick in progress is done."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown()

    def _apply(self, tick: Tick, at: datetime | None) -> TickAnswer:
        if self._connection is None:
            self._connection = self._engine.connect()
        raw = cast("sqlite3.Connection", self._connection.connection.dbapi_connection)
        try:
            raw.execute("BEGIN IMMEDIATE")
            answer = _Transaction(self._connection, raw, tick, at or wall.now()).apply()
            self._connection.commit()  # of what went through it, if anything did
            raw.commit()
        except BaseException:
            self._drop()
            raise
        return answer

    def _drop(self) -> None:
        """Close the connection, and so end its transaction."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.invalidate()
            connection.close()


class _Transaction:
    def __init__(
        self, connection: Connection, raw: sqlite3.Connection, tick: Tick, at: datetime
    ) -> None:
        self._raw = raw
        self._inline = Inline(connection)
        # of a tick's statements the rare ones are shared with PostgreSQL; Inline has what they use
        self._connection = cast("AsyncConnection", self._inline)
        self._tick = tick
        self._at = at
        self._expiry = at + timedelta(seconds=tick.lease_seconds)

    def apply(self) -> TickAnswer:
        named = self._named()
        open_leases = {lease_id for lease_id, state in named.items() if state == "open"}
        usage = FencedUsage(self._raw, self._inline, self._tick, self._at)
        refused, written_off = usage.charge(open_leases, instant(self._expiry))
        if self._tick.root is not None:
            self._add(self._tick.root)
        order = sorted(
            self._tick.leases, key=lambda line: (line.account_id, line.action), reverse=True
        )
        told = [finish(self._lease(line)) for line in order]
        if told:
            named = self._named()
        since = instant(self._at - _RECALL)
        return TickAnswer(
            refused=refused,
            written_off=written_off,
            leases=[answer for answer in told if answer is not None],
            closed=[lease_id for lease_id, state in named.items() if state == "closed"],
            recalled=self._read(_RECALLED, (self._tick.replica_id, since)),
            free=usage.free,
        )

    def _add(self, root: RootLine) -> None:
        """Write the root of the tick's receipts, unless it is known."""
        values = (root.id, root.size, root.root, root.previous, root.key_id, root.signature)
        self._raw.execute(_ROOT, values)
        if root.previous == FIRST:
            self._raw.execute(_KEY, (root.key_id, root.key, instant(self._at)))

    def _named(self) -> dict[str, str]:
        """Return the state of each lease that the tick names, if there is such a lease."""
        if not self._tick.lease_ids:
            return {}
        ids = msgspec.json.encode(self._tick.lease_ids).decode()
        found: dict[str, str] = self._read(_NAMED, (ids,))
        return found

    def _read(self, query: str, values: tuple[str, ...]) -> Any:
        """Read what a query returns as one JSON value."""
        return msgspec.json.decode(self._raw.execute(query, values).fetchone()[0])

    async def _lease(self, line: LeaseLine) -> LeaseAnswer | None:
        """Apply a lease line; None for one that arrives after a later one."""
        lease = await self._lease_row(line.id)
        if lease is not None and lease.tick >= self._tick.number:
            return None
        if lease is not None and lease.state == "open":
            await postings.post(self._connection, line.id, self._at)
            await self._change(line.id, tick=self._tick.number, expires_at=self._expiry)
            if line.action == "keep":
                await self._keep(line)
            elif line.action == "close":
                await postings.close(self._connection, line.id, self._at)
        denied, unreached = False, 0
        if line.action == "ask" and (lease is None or lease.state == "open"):
            denied, unreached = await self._ask(line)
        lease = await self._lease_row(line.id)
        account = await postings.lock_account(self._connection, line.account_id)
        cause = await freezes.told(self._connection, account)
        return LeaseAnswer(
            id=line.id,
            state="none" if lease is None else lease.state,
            granted_nanos=0 if lease is None else lease.granted_nanos,
            available_nanos=0 if account is None else account.available_nanos,
            denied=denied,
            frozen=cause,
            unreached_nanos=unreached,
        )

    async def _keep(self, line: LeaseLine) -> None:
        await postings.keep(self._connection, line.id, line.keep_nanos)
        await self._change(line.id, returned_at=self._at)

    async def _ask(self, line: LeaseLine) -> tuple[bool, int]:
        """Grant what is asked for; return whether it was denied, and what others hold unreached."""
        lease = await self._lease_row(line.id)
        account = await self._account(line)
        granted = 0 if lease is None else lease.granted_nanos
        short = line.least_nanos - granted
        cause = await freezes.told(self._connection, account)
        if cause == "owing" and short > 0 and lease is not None:
            rest = granted - max(line.keep_nanos, lease.spent_nanos)
            if rest > 0:  # returned, it may pay the debt, so that nothing is denied
                await self._keep(line)
                return await self._ask(line)
        if account is None or cause or account.available_nanos < short:
            if short <= 0:
                return False, 0
            if lease is not None:
                await self._keep(line)
            if account is None:
                return True, 0
            return True, await self._recall(line, account, short, is_frozen=bool(cause))
        best = min(line.target_nanos - granted, account.available_nanos // 4)
        if self._is_recalled(account):
            best = 0
        more = max(0, min(account.available_nanos, max(short, best)))
        if more:
            await postings.move(self._connection, account.id, available=-more, leased=more)
            if lease is None:
                await self._open(line, more)
            else:
                await self._change(line.id, granted_nanos=granted + more)
        return False, 0

    async def _recall(
        self, line: LeaseLine, account: Row[Any], short: int, *, is_frozen: bool
    ) -> int:
        """Recall an account if what others hold would suffice; return what they hold unreached."""
        others = await self._connection.execute(
            select(leases.c.granted_nanos - leases.c.spent_nanos, leases.c.returned_at).where(
                leases.c.account_id == account.id,
                leases.c.state == "open",
                leases.c.replica_id != self._tick.replica_id,
            )
        )
        since = self._at - timedelta(seconds=line.waited_seconds)
        held = unreached = 0
        for rest, returned_at in others.all():
            held += rest
            if not line.waited_seconds or returned_at < since:
                unreached += rest
        suffices = held > 0 and account.available_nanos + held >= short
        if suffices and not is_frozen and not self._is_recalled(account):
            await postings.recall(self._connection, account.id, self._at)
        return max(unreached - int(account.owed_nanos), 0)

    def _is_recalled(self, account: Row[Any]) -> bool:
        return account.recalled_at is not None and account.recalled_at > self._at - _RECALL

    async def _account(self, line: LeaseLine) -> Row[Any] | None:
        """Return the account, opening that of a key's budget at its first use."""
        account = await postings.lock_account(self._connection, line.account_id)
        if account is not None or line.key_id is None:
            return account
        query = (
            select(key_budgets.c.limit_nanos, api_keys.c.organization_id)
            .join(api_keys, api_keys.c.id == key_budgets.c.key_id)
            .where(key_budgets.c.key_id == line.key_id)
        )
        budget = (await self._connection.execute(query)).one_or_none()
        if budget is None:
            return None
        assert line.period is not None
        await grants.open_budget(
            self._connection,
            line.account_id,
            budget.organization_id,
            line.key_id,
            line.period,
            budget.limit_nanos,
        )
        return await postings.lock_account(self._connection, line.account_id)

    async def _open(self, line: LeaseLine, granted_nanos: int) -> None:
        await self._connection.execute(
            insert(leases).values(
                id=line.id,
                account_id=line.account_id,
                replica_id=self._tick.replica_id,
                granted_nanos=granted_nanos,
                spent_nanos=0,
                posted_nanos=0,
                postings=0,
                state="open",
                tick=self._tick.number,
                opened_at=self._at,
                returned_at=self._at,
                expires_at=self._expiry,
            )
        )

    async def _change(self, lease_id: str, **values: Any) -> None:
        await self._connection.execute(update(leases).where(leases.c.id == lease_id).values(values))

    async def _lease_row(self, lease_id: str) -> Row[Any] | None:
        found = await self._connection.execute(select(leases).where(leases.c.id == lease_id))
        return found.one_or_none()


_ROOT = (
    "INSERT INTO receipt_roots (id, size, root, previous, key_id, signature) "
    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_KEY = "INSERT INTO receipt_keys (id, public, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_NAMED = (
    "SELECT json_group_object(id, state) FROM leases WHERE id IN (SELECT value FROM json_each(?))"
)
# The accounts of which a process should return what it doesn't use. What a frozen account's leases
# hold is not for use, so it is returned even if nobody waits for it.
_RECALLED = """
SELECT json_group_array(DISTINCT account_id) FROM leases
WHERE state = 'open' AND replica_id = ? AND (
    account_id IN (SELECT id FROM accounts WHERE recalled_at > ?)
    OR granted_nanos > spent_nanos AND account_id IN (
        SELECT id FROM accounts WHERE owed_nanos > 0 AND leased_nanos > 0
        UNION ALL SELECT account_id FROM freezes))
"""
