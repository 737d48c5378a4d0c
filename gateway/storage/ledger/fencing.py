"""The fence of a lease, and the usage of a tick, on SQLite.

A lease is credit that one process may spend from memory until it expires. The fence: usage is
charged to a lease only while its row is open. When the lease has been closed meanwhile (its process
was silent for too long and the credit went back), the account pays if it can; otherwise the request
is refused, or written off if it has been answered already. So credit that went back can't be spent
twice.

On PostgreSQL `ledger_fenced` and `ledger_tick` do the same: migrations/sql/0001_lease_fencing.sql.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.messages import Tick, UsageLine
from gateway.storage.ledger import postings
from gateway.storage.tables import leases, usage_events, usage_hours

_SUMS = ("requests", "inputs", "tokens", "charged_nanos")


class FencedUsage:
    """The usage of one tick, charged in the tick's transaction."""

    def __init__(self, connection: AsyncConnection, tick: Tick, at: datetime) -> None:
        self._connection = connection
        self._tick = tick
        self._at = at
        self._rows: list[dict[str, Any]] = []

    async def charge(self, open_leases: set[str]) -> tuple[list[str], list[str]]:
        """Write the rows of usage and charge them; return who was refused and who written off."""
        spent: Counter[str] = Counter()
        fenced = []
        for line in await self._new_lines():
            if line.lease_id in open_leases and (
                line.budget_id is None or line.budget_lease_id in open_leases
            ):
                spent[line.lease_id] += line.cost_nanos
                if line.budget_lease_id is not None:
                    spent[line.budget_lease_id] += line.cost_nanos
                self._row(line, line.cost_nanos, line.lease_id, line.budget_lease_id)
            else:
                fenced.append(line)
        for lease_id, nanos in spent.items():
            await self._spend(lease_id, nanos)
        refused, written_off = [], []
        answered = set(self._tick.answered)
        for line in fenced:
            if await self._charge_accounts(line, open_leases):
                continue
            if line.request_id in answered:
                written_off.append(line.request_id)
                self._row(line, 0, None, None)
            else:
                refused.append(line.request_id)
        if self._rows:
            await self._connection.execute(insert(usage_events), self._rows)
            await self._sum_by_hour()
        return refused, written_off

    async def _new_lines(self) -> list[UsageLine]:
        """Return the lines whose requests have no row yet, each request once."""
        lines: dict[str, UsageLine] = {}
        for raw in self._tick.usage:
            line = msgspec.json.decode(raw, type=UsageLine)
            lines.setdefault(line.request_id, line)
        if not lines:
            return []
        query = select(usage_events.c.request_id).where(usage_events.c.request_id.in_(lines))
        for known in (await self._connection.scalars(query)).all():
            del lines[known]
        return list(lines.values())

    async def _charge_accounts(self, line: UsageLine, open_leases: set[str]) -> bool:
        """Charge usage whose lease is closed to the accounts; return whether they could pay."""
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
            await self._spend(lease_id, line.cost_nanos)
        self._row(line, line.cost_nanos, payer, allower)
        return True

    async def _spend(self, lease_id: str, nanos: int) -> None:
        spent = leases.c.spent_nanos + nanos
        await self._connection.execute(
            update(leases).where(leases.c.id == lease_id).values(spent_nanos=spent)
        )

    def _row(self, line: UsageLine, charged: int, payer: str | None, allower: str | None) -> None:
        row = msgspec.structs.asdict(line) | {
            "charged_nanos": charged,
            "lease_id": payer,
            "budget_lease_id": allower,
            "created_at": datetime.fromtimestamp(line.created_ms / 1000, UTC),
        }
        del row["created_ms"]
        self._rows.append(row)

    async def _sum_by_hour(self) -> None:
        sums: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
        for row in self._rows:
            hour = row["created_at"].replace(minute=0, second=0, microsecond=0)
            part = sums[row["organization_id"], hour, row["key_id"], row["model_id"]]
            part.update(requests=1, **{name: row[name] for name in _SUMS[1:]})
        keys = ("organization_id", "hour", "key_id", "model_id")
        for key, part in sums.items():
            values = dict(zip(keys, key, strict=True)) | {name: part[name] for name in _SUMS}
            added = upsert(usage_hours).values({**values, "shard": self._tick.shard})
            raised = {name: usage_hours.c[name] + added.excluded[name] for name in _SUMS}
            await self._connection.execute(
                added.on_conflict_do_update(index_elements=[*keys, "shard"], set_=raised)
            )
