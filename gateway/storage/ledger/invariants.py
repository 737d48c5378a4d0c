"""Checks what must be true of the money at every moment.

The tests run the rules after everything they do; `gateway audit` and a job run them on a live
database. One transaction sees one moment, so they hold under load too. A full audit reads
everything that is there, and the opening sums for usage that is gone. The job's audit starts at the
last seal.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import see_one_moment
from gateway.storage.ledger import postings, seals, sums
from gateway.storage.ledger.payment_rules import PAYMENT_INVARIANTS
from gateway.storage.ledger.rules import INVARIANTS as _RULES
from gateway.storage.ledger.rules import Invariant
from gateway.storage.ledger.seals import Reach
from gateway.storage.tables.types import Day, Instant

INVARIANTS = (*_RULES, *PAYMENT_INVARIANTS)
SHOWN_MAX = 20
_EVER = datetime(2020, 1, 1, tzinfo=UTC)
_DIALECTS = {
    "postgresql": {
        r"utc_day\((\w+)\)": r"to_char(\1 AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
        r"utc_date\((\w+)\)": r"CAST(timezone('UTC', \1) AS date)",
        r"utc_hour\((\w+)\)": r"date_trunc('hour', \1, 'UTC')",
    },
    "sqlite": {
        r"utc_(day|date)\((\w+)\)": r"substr(\2, 1, 10)",
        r"utc_hour\((\w+)\)": r"substr(\1, 1, 13)",
    },
}
"""The only SQL of the rules that differs between the two databases."""
_LEASES = """(
    SELECT * FROM leases WHERE id IN (
        SELECT id FROM leases WHERE state = 'open'
        UNION SELECT id FROM leases WHERE opened_at >= :opened
        UNION SELECT CAST(id AS uuid) FROM audit_sums WHERE part = 'sealed' AND kind = 'lease'))"""
"""The leases that may have changed since the seal, however long ago they were opened."""
_TYPES = {"day": Day(), "month": None, "entries": None, "usage": None}


class Breach(NamedTuple):
    """A broken rule, and up to 20 of the accounts, leases or requests that break it."""

    invariant: Invariant
    culprits: list[str]


class Scope(NamedTuple):
    """What an audit reads: rows since one seal, and sums up to another. None: everything."""

    rows: Reach | None = None
    sums: Reach | None = None


_WHOLE = Scope()


async def audit(connection: AsyncConnection) -> list[Breach]:
    """Run every rule over everything, as of one moment, and return what is broken."""
    await see_one_moment(connection)
    return await check(connection, _WHOLE)


async def check(connection: AsyncConnection, scope: Scope) -> list[Breach]:
    """Run every rule; the connection's transaction must see one moment."""
    last_gone = await sums.last_day_gone(connection)
    now = await postings.database_now(connection)
    kept = _EVER if last_gone is None else _midnight(last_gone + timedelta(days=1))
    values: dict[str, Any] = {"kept": kept, "yesterday": now - timedelta(days=1)}
    values["month"] = f"{now.astimezone(UTC):%Y-%m}"
    hours: list[datetime] = []
    if scope.rows is not None and scope.sums is not None:
        hours = await seals.hours_between(connection, scope.rows, scope.sums, kept)
    breaches = []
    for invariant in INVARIANTS:
        if invariant.by_hour and scope.rows is not None:
            moments = [values | _of_hour(hour) for hour in hours]
            sql = invariant.by_hour
        else:
            moments, sql = [values], invariant.sql
        query = _query(connection, sql, scope, is_of_rows=invariant.of_rows)
        culprits: list[str] = []
        for at in moments:
            culprits.extend(await _culprits(connection, query, at | _positions(scope, invariant)))
            if len(culprits) >= SHOWN_MAX:
                break
        if culprits:
            breaches.append(Breach(invariant, culprits[:SHOWN_MAX]))
    return breaches


async def _culprits(
    connection: AsyncConnection, query: TextClause, values: dict[str, Any]
) -> list[str]:
    used = _names(query.text)
    found = await connection.scalars(query, {name: values[name] for name in used})
    return [str(culprit) for culprit in found.all()]


def _query(connection: AsyncConnection, sql: str, scope: Scope, *, is_of_rows: bool) -> TextClause:
    reach = scope.rows if is_of_rows else scope.sums
    parts = {
        "{entries}": "id > :entries" if reach else "true",
        "{usage}": "position > :usage" if reach else "true",
        "{sums}": "part IN ('opening', 'sealed')" if reach else "part = 'opening'",
        "{leases}": _LEASES if scope.rows else "leases",
    }
    for name, part in parts.items():
        sql = sql.replace(name, part)
    for macro, meaning in _DIALECTS[connection.dialect.name].items():
        sql = re.sub(macro, meaning, sql)
    limited = text(f"{sql} LIMIT {SHOWN_MAX}")
    return limited.bindparams(
        *(bindparam(name, type_=_TYPES.get(name, Instant())) for name in _names(sql))
    )


def _names(sql: str) -> set[str]:
    return set(re.findall(r":([a-z_]+)", sql))


def _positions(scope: Scope, invariant: Invariant) -> dict[str, Any]:
    reach = scope.rows if invariant.of_rows else scope.sums
    values: dict[str, Any] = {} if reach is None else {"entries": reach.entries}
    if reach is not None:
        values["usage"] = reach.usage
    if scope.rows is not None:
        values["opened"] = scope.rows.leases
    return values


def _of_hour(hour: datetime) -> dict[str, Any]:
    midnight = hour.astimezone(UTC).replace(hour=0)
    return {
        "hour": hour,
        "hour_after": hour + timedelta(hours=1),
        "midnight": midnight,
        "day_after": midnight + timedelta(days=1),
        "day": midnight.date(),
    }


def _midnight(day: Any) -> datetime:
    return datetime.combine(day, time(), UTC)
