"""The fence of a lease, and the usage of a tick, on SQLite.

A lease is credit that one process may spend from memory until it expires. The fence: usage is
charged to a lease only while its row is open. If the lease has been closed in the meantime (its
process was silent for too long and the credit was returned), the account pays if it can; otherwise
the request is refused, or written off if it was already answered. So returned credit can't be spent
twice.

Each statement handles all its rows, which it gets as JSON: between two statements this thread has
to win the interpreter back from the event loop, which may take longer than the statement.

On PostgreSQL `ledger_fenced` and `ledger_tick` do the same: migrations/sql/0001_lease_fencing.sql.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple, cast

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.data_plane.metering.messages import Tick, UsageLine
from gateway.storage.ledger import postings, prints
from gateway.storage.ledger.inline import Inline, as_json, finish, instant


class FencedUsage:
    """The usage of one tick, charged in the tick's transaction."""

    def __init__(
        self, connection: sqlite3.Connection, inline: Inline, tick: Tick, at: datetime
    ) -> None:
        self._connection = connection
        # what postings uses of it, Inline has
        self._postings = cast("AsyncConnection", inline)
        self._tick = tick
        self._at = at
        self.free: dict[str, str] = {}

    def charge(self, open_leases: set[str], expiry: str) -> tuple[list[str], list[str]]:
        """Write the rows of usage and charge them, and keep this process's leases until `expiry`.

        Returns the requests refused and those written off; `free` are those not charged because an
        identical request already was.
        """
        lines: dict[str, UsageLine] = {}
        for raw in self._tick.usage:
            line = msgspec.json.decode(raw, type=UsageLine)
            lines.setdefault(line.request_id, line)
        if lines or self._tick.undelivered:
            self.free = prints.find_free(
                self._connection, list(lines.values()), self._tick.undelivered, self._at
            )
        covered: list[UsageLine] = []
        fenced: list[UsageLine] = []
        for line in lines.values():
            is_open = line.lease_id in open_leases and (
                line.budget_id is None or line.budget_lease_id in open_leases
            )
            (covered if is_open else fenced).append(line)
        self._charge_leases(covered, open_leases, expiry)
        return self._charge_fenced(fenced, open_leases) if fenced else ([], [])

    def _charge_leases(self, covered: list[UsageLine], open_leases: set[str], expiry: str) -> None:
        try:
            self._insert(covered)
        except sqlite3.IntegrityError:  # an earlier tick with some of them was applied, unheard
            covered = self._new(covered)
            self._insert(covered)
        spent = Counter(dict.fromkeys(open_leases, 0))
        for line in covered:
            if line.request_id in self.free:
                continue
            spent[line.lease_id] += line.cost_nanos
            if line.budget_lease_id is not None:
                spent[line.budget_lease_id] += line.cost_nanos
        if spent:
            moves = as_json(list(spent.items()))
            self._connection.execute(_SPEND, (self._tick.replica_id, expiry, moves))

    def _charge_fenced(
        self, fenced: list[UsageLine], open_leases: set[str]
    ) -> tuple[list[str], list[str]]:
        refused: list[UsageLine] = []
        written_off: list[str] = []
        for line in self._new(fenced):
            if self._charge_accounts(line, open_leases):
                continue
            if line.request_id in self._tick.answered:
                written_off.append(line.request_id)
                self._write([_row(line, 0, None, None)])
            else:
                refused.append(line)
        prints.drop_refused(self._connection, refused)
        return [line.request_id for line in refused], written_off

    def _charge_accounts(self, line: UsageLine, open_leases: set[str]) -> bool:
        """Charge usage whose lease is closed to the accounts; return whether they could pay."""
        payer = line.lease_id if line.lease_id in open_leases else None
        allower = line.budget_lease_id if line.budget_lease_id in open_leases else None
        if line.request_id in self.free:
            self._write([_row(line, 0, payer, allower)])
            return True
        debtors = [] if payer else [line.organization_id]
        if line.budget_id is not None and allower is None:
            debtors.append(line.budget_id)
        for account_id in debtors:
            account = finish(postings.lock_account(self._postings, account_id))
            if account is None or account.available_nanos < line.cost_nanos:
                return False
        cost, at = line.cost_nanos, self._at
        for account_id in debtors:
            finish(postings.debit(self._postings, account_id, cost, line.request_id, at))
        moves = as_json([(lease_id, cost) for lease_id in (payer, allower) if lease_id])
        self._connection.execute(_SPEND, (None, None, moves))
        self._write([_row(line, cost, payer, allower)])
        return True

    def _new(self, lines: list[UsageLine]) -> list[UsageLine]:
        """Return the lines whose requests have no row yet."""
        ids = as_json([line.request_id for line in lines])
        known = msgspec.json.decode(self._connection.execute(_KNOWN, (ids,)).fetchone()[0])
        return [line for line in lines if line.request_id not in set(known)]

    def _insert(self, lines: list[UsageLine]) -> None:
        if lines:
            self._write(
                [
                    _row(
                        line,
                        0 if line.request_id in self.free else line.cost_nanos,
                        line.lease_id,
                        line.budget_lease_id,
                    )
                    for line in lines
                ]
            )

    def _write(self, rows: list[_Row]) -> None:
        """Write rows of usage, and add them to their hours."""
        self._connection.execute(_INSERT, (as_json(rows),))
        sums: dict[tuple[str, str, str, str, int], list[int]] = {}
        for row in rows:
            hour = row.created_at[:13] + ":00:00.000000+00:00"
            key = (row.organization_id, hour, row.key_id, row.model_id, self._tick.shard)
            part = sums.setdefault(key, [0, 0, 0, 0])
            for n, more in enumerate((1, row.inputs, row.tokens, row.charged_nanos)):
                part[n] += more
        self._connection.execute(_SUM, (as_json([(*key, *part) for key, part in sums.items()]),))


class _Row(NamedTuple):
    """A row of usage_events, its columns in order."""

    request_id: str
    organization_id: str
    key_id: str
    model_id: str
    price_id: str
    inputs: int
    tokens: int
    cost_nanos: int
    charged_nanos: int
    lease_id: str | None
    budget_id: str | None
    budget_lease_id: str | None
    created_at: str


def _row(line: UsageLine, charged: int, payer: str | None, allower: str | None) -> _Row:
    return _Row(
        line.request_id,
        line.organization_id,
        line.key_id,
        line.model_id,
        line.price_id,
        line.inputs,
        line.tokens,
        line.cost_nanos,
        charged,
        payer,
        line.budget_id,
        allower,
        instant(datetime.fromtimestamp(line.created_ms / 1000, UTC)),
    )


_HOUR = ("organization_id", "hour", "key_id", "model_id", "shard")
_SUMS = ("requests", "inputs", "tokens", "charged_nanos")


def _selected(columns: Sequence[str]) -> str:
    """Select rows from a parameter, a JSON array of arrays."""
    values = (f"json_extract(value, '$[{n}]')" for n in range(len(columns)))
    return " ".join(("SELECT", ", ".join(values), "FROM json_each(?)"))


_INSERT = " ".join(
    (f"INSERT INTO usage_events ({', '.join(_Row._fields)})", _selected(_Row._fields))
)
_KNOWN = (
    "SELECT json_group_array(request_id) FROM usage_events "
    "WHERE request_id IN (SELECT value FROM json_each(?))"
)
_SPEND = (
    "UPDATE leases SET spent_nanos = spent_nanos + json_extract(value, '$[1]'), "
    "expires_at = CASE WHEN replica_id = ? THEN ? ELSE expires_at END "
    "FROM json_each(?) WHERE leases.id = json_extract(value, '$[0]')"
)
_SUM = (
    f"INSERT INTO usage_hours ({', '.join((*_HOUR, *_SUMS))}) {_selected((*_HOUR, *_SUMS))} "
    f"WHERE true ON CONFLICT ({', '.join(_HOUR)}) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
)
