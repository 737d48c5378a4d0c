"""Finds balances and budgets that have crossed a level, and tells each crossing once.

A walk looks at the accounts that may have changed since the last one: those that a lease is open
for, or was opened for meanwhile; those that had one when last looked at, for a final look; those
that were recalled (a payment went back, a limit changed); those of lots that expired; those whose
preferences changed. So its cost follows what is in use, not how many organizations there are.

Accounts are read in batches. What has crossed, seldom any, is told in a transaction of its own,
under the lock of its row in alert_levels, and only if the level is still what it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Row, Select, case, exists, select, union
from sqlalchemy import update as change
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import wall
from gateway.control_plane.alerts import levels, walks
from gateway.control_plane.alerts.levels import EMPTY, LOW
from gateway.control_plane.alerts.notices import Notice, publish
from gateway.data_plane.metering.leases import period_at
from gateway.storage.database import Database, skipping
from gateway.storage.ledger import runway
from gateway.storage.ledger.reading import leased_unspent
from gateway.storage.tables import (
    accounts,
    alert_levels,
    alert_preferences,
    api_keys,
    credit_lots,
    key_budgets,
    leases,
)

BATCH = 200
"""How many accounts are read at once."""
TURN_SECONDS = 30.0
"""How long one run goes on; the next continues."""
AGAIN_SECONDS = 10.0
"""How long after a walk the next one begins."""

_NAME = "crossings"
_OVERLAP = timedelta(minutes=1)
"""How far back a walk looks beyond the last one: longer than a transaction of the ledger takes."""
_EXPIRY_SECONDS = timedelta(minutes=5)
"""How late the credit of a lot that expired may be taken back."""


class Crossings:
    """The walk over accounts; `find` is a job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self) -> int:
        """Tell what has crossed since the last walk; return how many notices are new."""
        walk = await walks.claim(self._database, _NAME)
        if walk is None:
            return 0
        told, after, ends = 0, walk.after, monotonic() + TURN_SECONDS
        while monotonic() < ends:
            some = await self._changed(walk.read_until, after)
            told += await self._look_at(some)
            if len(some) < BATCH:
                await walks.finish(self._database, walk, again_seconds=AGAIN_SECONDS)
                return told
            after = some[-1]
            await walks.advance(self._database, _NAME, after)
        await walks.pause(self._database, _NAME)
        return told

    async def _changed(self, read_until: datetime, after: str) -> list[str]:
        async with self._database.read() as connection:
            found = await connection.scalars(_changed(read_until, after).limit(BATCH))
            return list(found)

    async def _look_at(self, account_ids: Sequence[str]) -> int:
        """Look at a batch of accounts; return how many notices are new."""
        if not account_ids:
            return 0
        now = wall.now()
        async with self._database.read() as connection:
            # first, so that a lease that closes in between is looked at once more
            in_use = set(await connection.scalars(_in_use(account_ids)))
            watched = set(await connection.scalars(_watched(account_ids)))
            organizations = (await connection.execute(_balances(account_ids, now))).all()
            budgets = (await connection.execute(_budgets(account_ids, now))).all()
        told = 0
        for account, level in _crossed(organizations, budgets):
            with skipping("a crossing is not told", account=account.id):
                async with self._database.write() as connection:
                    told += await _tell(connection, account, level, now)
        if in_use != watched:
            async with self._database.write() as connection:
                await levels.watch(connection, in_use - watched)
                await levels.unwatch(connection, watched - in_use)
        return told


def _crossed(
    organizations: Sequence[Row[Any]], budgets: Sequence[Row[Any]]
) -> Iterator[tuple[Row[Any], int]]:
    """Yield each account whose level has changed, with its new level."""
    for row in organizations:
        if not row.had_credit:
            continue  # an account that never had credit is not announced as empty
        level = levels.balance_level(row.level or 0, row.available, _threshold(row))
        if level != (row.level or 0):
            yield row, level
    for row in budgets:
        level = levels.budget_level(row.spent, row.limit_nanos)
        if level != (row.level or 0):
            yield row, level


def _threshold(row: Row[Any]) -> int:
    if row.low_nanos is not None:
        return int(row.low_nanos)
    return levels.LOW_DAYS * runway.of(row.available, row.spent_lately).nanos_a_day


async def _tell(connection: AsyncConnection, account: Row[Any], level: int, now: datetime) -> bool:
    """Store an account's new level, and tell it if it was crossed downward."""
    await levels.add(connection, account.id)
    row = (
        await connection.execute(
            select(alert_levels).where(alert_levels.c.account_id == account.id).with_for_update()
        )
    ).one()
    before = account.level or 0
    if row.level != before:
        return False  # another process told it
    told = row.told + 1 if level > before else row.told
    await connection.execute(
        change(alert_levels)
        .where(alert_levels.c.account_id == account.id)
        .values(level=level, told=told)
    )
    if level < before:
        return False
    notice = _balance_notice if account.key_id is None else _budget_notice
    return await publish(
        connection, account.organization_id, notice(account, level, f"{account.id}:{told}", now)
    )


def _balance_notice(account: Row[Any], level: int, crossing: str, now: datetime) -> Notice:
    if level == EMPTY:
        data: dict[str, Any] = {"available_nanos": account.available}
        return Notice("balance.empty", f"balance.empty:{crossing}", data, now)
    assert level == LOW
    data = {
        "available_nanos": account.available,
        "threshold_nanos": _threshold(account),
        "days_left": runway.of(account.available, account.spent_lately).days,
    }
    return Notice("balance.low", f"balance.low:{crossing}", data, now)


def _budget_notice(account: Row[Any], level: int, crossing: str, now: datetime) -> Notice:
    data = {
        "key_id": account.key_id,
        "key_name": account.name,
        "percent": level,
        "spent_nanos": account.spent,
        "limit_nanos": account.limit_nanos,
        "period": account.period,
    }
    return Notice("budget.reached", f"budget.reached:{crossing}", data, now)


def _changed(read_until: datetime, after: str) -> CompoundSelect[Any]:
    since = read_until - _OVERLAP
    sources = [
        select(leases.c.account_id.label("id")).where(leases.c.state == "open"),
        select(leases.c.account_id).where(leases.c.opened_at >= since),
        select(accounts.c.id).where(accounts.c.recalled_at >= since),
        select(credit_lots.c.organization_id).where(
            credit_lots.c.expires_at >= since - _EXPIRY_SECONDS,
            credit_lots.c.expires_at <= wall.now(),
        ),
        select(alert_preferences.c.organization_id).where(alert_preferences.c.changed_at >= since),
        select(alert_levels.c.account_id).where(alert_levels.c.watched),
    ]
    chosen = [source.where(_is_after(source, after)) for source in sources] if after else sources
    return union(*chosen).order_by("id")


def _is_after(source: Any, after: str) -> ColumnElement[bool]:
    column: ColumnElement[bool] = source.selected_columns[0] > after
    return column


def _in_use(account_ids: Sequence[str]) -> Select[Any]:
    return (
        select(leases.c.account_id)
        .where(leases.c.state == "open", leases.c.account_id.in_(account_ids))
        .distinct()
    )


def _watched(account_ids: Sequence[str]) -> Select[Any]:
    return select(alert_levels.c.account_id).where(
        alert_levels.c.watched, alert_levels.c.account_id.in_(account_ids)
    )


def _balances(account_ids: Sequence[str], now: datetime) -> Select[Any]:
    lots = exists().where(credit_lots.c.organization_id == accounts.c.id)
    return (
        select(
            accounts.c.id,
            accounts.c.organization_id,
            accounts.c.key_id,
            (accounts.c.available_nanos + leased_unspent()).label("available"),
            runway.spent_lately(now.date()).label("spent_lately"),
            case((lots, 1), else_=0).label("had_credit"),
            alert_preferences.c.low_nanos,
            alert_levels.c.level,
        )
        .outerjoin(alert_levels, alert_levels.c.account_id == accounts.c.id)
        .outerjoin(
            alert_preferences, alert_preferences.c.organization_id == accounts.c.organization_id
        )
        .where(accounts.c.id.in_(account_ids), accounts.c.key_id.is_(None))
    )


def _budgets(account_ids: Sequence[str], now: datetime) -> Select[Any]:
    """Select the budgets that still hold: of keys that work, in the period that runs."""
    running = case(
        (key_budgets.c.period == "total", "total"),
        else_=period_at("month", int(now.timestamp() * 1000)),
    )
    left = accounts.c.available_nanos + leased_unspent() - accounts.c.owed_nanos
    return (
        select(
            accounts.c.id,
            accounts.c.organization_id,
            accounts.c.key_id,
            accounts.c.period,
            accounts.c.limit_nanos,
            (accounts.c.limit_nanos - left).label("spent"),
            api_keys.c.name,
            alert_levels.c.level,
        )
        .join(api_keys, api_keys.c.id == accounts.c.key_id)
        .join(key_budgets, key_budgets.c.key_id == accounts.c.key_id)
        .outerjoin(alert_levels, alert_levels.c.account_id == accounts.c.id)
        .where(
            accounts.c.id.in_(account_ids),
            accounts.c.period == running,
            api_keys.c.revoked_at.is_(None),
        )
    )
