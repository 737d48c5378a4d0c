"""The ledger on SQLite: a tick is one transaction that does what `ledger_tick` does on PostgreSQL.

SQLite has one writer at a time, so there are no locks to order; the embedded default is one
process, and a tick a commit, so that its statements' cost is shared by all requests of the tick.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.messages import (
    LeaseAnswer,
    LeaseLine,
    LedgerUnavailable,
    Tick,
    TickAnswer,
    UsageLine,
)
from gateway.storage.database import Database
from gateway.storage.ledger import postings
from gateway.storage.tables import (
    accounts,
    api_keys,
    key_budgets,
    leases,
    usage_events,
    usage_hours,
)

_SUMS = ("requests", "inputs", "tokens", "charged_nanos")
RECALL = timedelta(seconds=1)
"""How long a recall holds."""


class SqliteLedger:
    """The port `Ledger` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tick(self, tick: Tick, at: datetime | None = None) -> TickAnswer:
        """Apply a tick; see `Ledger.tick`. `at` stands in for the clock in tests."""
        at = at or datetime.now(UTC)
        try:
            async with self._database.write() as connection:
                return await _Transaction(connection, tick, at).apply()
        except (SQLAlchemyError, OSError) as error:
            raise LedgerUnavailable(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Do nothing: the connections are the database's."""


class _Transaction:
    def __init__(self, connection: AsyncConnection, tick: Tick, at: datetime) -> None:
        self._connection = connection
        self._tick = tick
        self._at = at
        self._expiry = at + timedelta(seconds=tick.lease_seconds)
        self._rows: list[dict[str, Any]] = []

    async def apply(self) -> TickAnswer:
        states = await self._states()
        refused, written_off = await self._use(
            {i for i, state in states.items() if state == "open"}
        )
        order = sorted(
            self._tick.leases, key=lambda line: (line.account_id, line.action), reverse=True
        )
        told = [answer for line in order if (answer := await self._lease(line)) is not None]
        states = await self._states()
        return TickAnswer(
            refused=refused,
            written_off=written_off,
            leases=told,
            closed=[lease_id for lease_id, state in states.items() if state == "closed"],
            recalled=await self._recalled(),
        )

    async def _states(self) -> dict[str, str]:
        if not self._tick.lease_ids:
            return {}
        named = leases.c.id.in_(self._tick.lease_ids)
        rows = await self._connection.execute(select(leases.c.id, leases.c.state).where(named))
        return {row.id: row.state for row in rows.all()}

    async def _use(self, open_leases: set[str]) -> tuple[list[str], list[str]]:
        lines = [msgspec.json.decode(raw, type=UsageLine) for raw in self._tick.usage]
        known = await self._known([line.request_id for line in lines])
        answered = set(self._tick.answered)
        spent: Counter[str] = Counter()
        strays = []
        for line in lines:
            if line.request_id in known:
                continue
            known.add(line.request_id)
            covered = line.lease_id in open_leases and (
                line.budget_id is None or line.budget_lease_id in open_leases
            )
            if covered:
                spent[line.lease_id] += line.cost_nanos
                if line.budget_lease_id is not None:
                    spent[line.budget_lease_id] += line.cost_nanos
                self._row(line, line.cost_nanos, line.lease_id, line.budget_lease_id)
            else:
                strays.append(line)
        await self._spend(open_leases, spent)
        refused, written_off = [], []
        for line in strays:
            if not await self._fenced(line, open_leases):
                if line.request_id in answered:
                    written_off.append(line.request_id)
                    self._row(line, 0, None, None)
                else:
                    refused.append(line.request_id)
        await self._write_rows()
        return refused, written_off

    async def _known(self, request_ids: list[str]) -> set[str]:
        if not request_ids:
            return set()
        query = select(usage_events.c.request_id).where(usage_events.c.request_id.in_(request_ids))
        return set((await self._connection.scalars(query)).all())

    async def _spend(self, open_leases: set[str], spent: Counter[str]) -> None:
        for lease_id in sorted(open_leases):
            mine = leases.c.replica_id == self._tick.replica_id
            by_id = update(leases).where(leases.c.id == lease_id)
            await self._connection.execute(by_id.where(mine).values(expires_at=self._expiry))
            if spent[lease_id]:
                await self._connection.execute(
                    by_id.values(spent_nanos=leases.c.spent_nanos + spent[lease_id])
                )

    async def _fenced(self, line: UsageLine, open_leases: set[str]) -> bool:
        """Charge usage whose lease is gone to the accounts; return whether they could pay."""
        payer = line.lease_id if line.lease_id in open_leases else None
        allower = line.budget_lease_id if line.budget_lease_id in open_leases else None
        debtors = [] if payer else [line.organization_id]
        if line.budget_id is not None and allower is None:
            debtors.append(line.budget_id)
        for account_id in debtors:
            account = await postings.lock_account(self._connection, account_id)
            if account is None or account.available_nanos < line.cost_nanos:
                return False
        for account_id in debtors:
            await postings.debit(
                self._connection, account_id, line.cost_nanos, line.request_id, self._at
            )
        for lease_id in filter(None, (payer, allower)):
            await self._connection.execute(
                update(leases)
                .where(leases.c.id == lease_id)
                .values(spent_nanos=leases.c.spent_nanos + line.cost_nanos)
            )
        self._row(line, line.cost_nanos, payer, allower)
        return True

    def _row(self, line: UsageLine, charged: int, payer: str | None, allower: str | None) -> None:
        self._rows.append(
            {
                "request_id": line.request_id,
                "organization_id": line.organization_id,
                "key_id": line.key_id,
                "model_id": line.model_id,
                "price_id": line.price_id,
                "inputs": line.inputs,
                "tokens": line.tokens,
                "cost_nanos": line.cost_nanos,
                "charged_nanos": charged,
                "lease_id": payer,
                "budget_id": line.budget_id,
                "budget_lease_id": allower,
                "created_at": datetime.fromtimestamp(line.created_ms / 1000, UTC),
            }
        )

    async def _write_rows(self) -> None:
        if not self._rows:
            return
        await self._connection.execute(insert(usage_events), self._rows)
        sums: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
        for row in self._rows:
            hour = row["created_at"].replace(minute=0, second=0, microsecond=0)
            part = sums[row["organization_id"], hour, row["key_id"], row["model_id"]]
            part["requests"] += 1
            for name in ("inputs", "tokens", "charged_nanos"):
                part[name] += row[name]
        keys = ("organization_id", "hour", "key_id", "model_id")
        for key, part in sums.items():
            row = dict(zip(keys, key, strict=True)) | {name: part[name] for name in _SUMS}
            added = upsert(usage_hours).values({**row, "shard": self._tick.shard})
            raised = {name: usage_hours.c[name] + added.excluded[name] for name in _SUMS}
            await self._connection.execute(
                added.on_conflict_do_update(index_elements=[*keys, "shard"], set_=raised)
            )

    async def _lease(self, line: LeaseLine) -> LeaseAnswer | None:
        lease = await self._lease_row(line.id)
        if lease is not None and lease.tick >= self._tick.number:
            return None
        if lease is not None and lease.state == "open":
            await postings.post(self._connection, line.id, self._at)
            await self._change(line.id, tick=self._tick.number, expires_at=self._expiry)
            if line.action == "keep":
                await postings.keep(self._connection, line.id, line.keep_nanos)
                await self._change(line.id, returned_at=self._at)
            elif line.action == "close":
                await postings.close(self._connection, line.id, self._at)
        denied, unreached = False, 0
        if line.action == "ask" and (lease is None or lease.state == "open"):
            denied, unreached = await self._ask(line)
        lease = await self._lease_row(line.id)
        account = await postings.lock_account(self._connection, line.account_id)
        return LeaseAnswer(
            id=line.id,
            state="none" if lease is None else lease.state,
            granted_nanos=0 if lease is None else lease.granted_nanos,
            available_nanos=0 if account is None else account.available_nanos,
            denied=denied,
            frozen=account is not None and bool(account.frozen),
            unreached_nanos=unreached,
        )

    async def _ask(self, line: LeaseLine) -> tuple[bool, int]:
        lease = await self._lease_row(line.id)
        account = await self._account(line)
        granted = 0 if lease is None else lease.granted_nanos
        short = line.least_nanos - granted
        if short > 0 and (account is None or account.frozen or account.available_nanos < short):
            return await self._deny(line, lease, account, short)
        if account is None or account.frozen:
            return False, 0
        recalled = account.recalled_at and account.recalled_at > self._at - RECALL
        best = min(line.target_nanos - granted, account.available_nanos // 4)
        more = max(0, min(account.available_nanos, max(short, 0 if recalled else best)))
        if more:
            await postings.move(self._connection, account.id, available=-more, leased=more)
            if lease is None:
                await self._open(line, more)
            else:
                await self._change(line.id, granted_nanos=granted + more)
        return False, 0

    async def _deny(
        self, line: LeaseLine, lease: Row[Any] | None, account: Row[Any] | None, short: int
    ) -> tuple[bool, int]:
        if account is None:
            return True, 0
        if lease is not None:
            await postings.keep(self._connection, line.id, line.keep_nanos)
            await self._change(line.id, returned_at=self._at)
            account = await postings.lock_account(self._connection, line.account_id)
            assert account is not None
            short = line.least_nanos - (await self._granted(line.id))
        others = await self._connection.execute(
            select(leases.c.granted_nanos - leases.c.spent_nanos, leases.c.returned_at).where(
                leases.c.account_id == account.id,
                leases.c.state == "open",
                leases.c.replica_id != self._tick.replica_id,
            )
        )
        recalled = account.recalled_at and account.recalled_at > self._at - RECALL
        since = self._at - timedelta(seconds=line.waited_seconds)
        held = unreached = 0
        for rest, returned_at in others.all():
            held += rest
            if not line.waited_seconds or returned_at < since:
                unreached += rest
        if not recalled and held and account.available_nanos + held >= short:
            await self._connection.execute(
                update(accounts).where(accounts.c.id == account.id).values(recalled_at=self._at)
            )
        return True, unreached

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
        await self._connection.execute(
            insert(accounts).values(
                id=line.account_id,
                organization_id=budget.organization_id,
                key_id=line.key_id,
                period=line.period,
                limit_nanos=budget.limit_nanos,
                available_nanos=budget.limit_nanos,
                leased_nanos=0,
                owed_nanos=0,
                spent_nanos=0,
                frozen=False,
            )
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

    async def _granted(self, lease_id: str) -> int:
        query = select(leases.c.granted_nanos).where(leases.c.id == lease_id)
        return int((await self._connection.execute(query)).scalar_one())

    async def _recalled(self) -> list[str]:
        query = select(accounts.c.id).where(
            accounts.c.recalled_at > self._at - RECALL,
            select(func.count())
            .where(
                leases.c.account_id == accounts.c.id,
                leases.c.state == "open",
                leases.c.replica_id == self._tick.replica_id,
            )
            .scalar_subquery()
            > 0,
        )
        return list((await self._connection.scalars(query)).all())
