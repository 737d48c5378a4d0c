"""The verdict: the clients' own record against what the database says.

    answers     every vector is the one of its input
    keys        no good key is answered 401 or 403
    rows        each original 200 has exactly one usage row, of its organization, at its cost
    replays     none is charged
    errors      none is charged
    unasked     what is charged beside that is an attempt that got no answer: counted, bounded
    written off what was answered and is not charged: counted, bounded
    balances    each is what was granted less what was charged, and none is below zero
    audit       `gateway audit` exits with 0

It reads tables by SQL of its own, so that it doesn't repeat a mistake of the code that it checks.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import asyncpg
import msgspec

from benchmarks.storm.record import Attempt, Record, Request

_EVIDENCE_MAX = 20
_BALANCES = """
    SELECT a.id, a.owed_nanos, a.available_nanos + a.leased_nanos - a.owed_nanos
        - (SELECT coalesce(sum(l.spent_nanos - l.posted_nanos), 0) FROM leases l
           WHERE l.account_id = a.id)::bigint AS left_nanos,
        (SELECT coalesce(sum(c.amount_nanos), 0) FROM credit_lots c
         WHERE c.organization_id = a.id)::bigint
            AS granted_nanos
    FROM accounts a WHERE a.key_id IS NULL
"""
_CREDITED = """
    SELECT source_ref, organization_id, amount_nanos FROM credit_lots
    WHERE source_ref LIKE 'request:%'
"""


class Verdict(msgspec.Struct):
    """What the books say beside the record."""

    charged: int = 0
    """Requests."""
    unasked: int = 0
    """Charged requests whose answer no client got."""
    written_off: int = 0
    replays: int = 0
    credited: int = 0
    """Charges that were credited back, for the client was told that they are unknown."""
    broken: list[str] = []
    """What must never be."""

    def breaks(self, what: str) -> None:
        """Note what must never be."""
        if len(self.broken) < _EVIDENCE_MAX:
            self.broken.append(what)


class Books:
    """Compares a record with the rows of a database."""

    def __init__(self, record: Record, prices_nanos: set[int]) -> None:
        self._record = record
        self._prices = prices_nanos
        self._rows: dict[str, asyncpg.Record] = {}
        self._charged: Counter[str] = Counter()
        self._credited: dict[str, tuple[str, int]] = {}
        """What was credited back: organization and nano-dollars, by charged request."""
        self.verdict = Verdict()

    async def check(self, connection: asyncpg.Connection) -> Verdict:
        """Check everything that rows can tell."""
        ids = [customer.organization_id for customer in self._record.customers]
        rows = await connection.fetch(
            "SELECT * FROM usage_events WHERE organization_id = ANY($1)", ids
        )
        self._rows = {str(row["request_id"]): row for row in rows}
        for row in rows:
            self._charged[str(row["organization_id"])] += row["charged_nanos"]
        self.verdict.charged = sum(row["charged_nanos"] > 0 for row in rows)
        for lot in await connection.fetch(_CREDITED):
            request_id = lot["source_ref"].removeprefix("request:")
            self._credited[request_id] = (str(lot["organization_id"]), lot["amount_nanos"])
        credited = Counter[str]()
        for owner, nanos in self._credited.values():
            credited[owner] += nanos
        left = self._answers()
        self._unasked(left)
        for request_id in self._credited:
            self.verdict.breaks(f"credited back, though it was answered: {request_id}")
        await self._balances(connection, credited)
        return self.verdict

    def _answers(self) -> dict[str, asyncpg.Record]:
        """Check each attempt; return the rows that no answer named."""
        left = dict(self._rows)
        named = {attempt.original_id for _, attempt in self._record.attempts()}
        for request, attempt in self._record.attempts():
            row = left.pop(attempt.request_id, None)
            if attempt.status in (401, 403):
                self.verdict.breaks(f"a good key was refused: {_told(attempt)}")
            if attempt.wrong:
                self.verdict.breaks(f"{attempt.wrong}: {_told(attempt)}")
            if attempt.served and not attempt.original_id:
                self._original(request, attempt, row)
            elif attempt.served:
                self.verdict.replays += 1
                if row is not None and row["charged_nanos"]:
                    self.verdict.breaks(f"a replay was charged: {_told(attempt)}")
            elif attempt.request_id in named:
                continue  # a retry was free because this one was charged
            elif row is not None and row["charged_nanos"] and not self._is_credited(row):
                self.verdict.breaks(f"an error was charged: {_told(attempt)}")
        return left

    def _original(self, request: Request, attempt: Attempt, row: Any) -> None:
        said = _told(attempt)
        if row is None:
            self.verdict.breaks(f"a 200 has no usage row: {said}")
            return
        customer = self._record.customers[request.customer]
        if str(row["organization_id"]) != customer.organization_id:
            self.verdict.breaks(f"another organization's row: {said}")
        if str(row["key_id"]) != customer.key_id:
            self.verdict.breaks(f"another key's row: {said}")
        if (row["inputs"], row["tokens"]) != (request.inputs, request.tokens):
            self.verdict.breaks(f"a row of other inputs: {said}")
        costs = {request.tokens * price for price in self._prices}
        if row["cost_nanos"] not in costs or attempt.cost_nanos != row["cost_nanos"]:
            self.verdict.breaks(f"a row at another cost, {row['cost_nanos']}: {said}")
        if not row["charged_nanos"]:
            self.verdict.written_off += 1

    def _unasked(self, left: dict[str, asyncpg.Record]) -> None:
        """Match rows that no answer named with attempts that got no answer."""
        named = {attempt.original_id for _, attempt in self._record.attempts()}
        unanswered: Counter[tuple[str, int, int]] = Counter(
            self._kind(request) for request, attempt in self._record.attempts()
            if attempt.status in (0, 502, 503) and not attempt.request_id
        )  # fmt: skip
        for request_id, row in left.items():
            kind = (str(row["organization_id"]), row["inputs"], row["tokens"])
            unanswered[kind] -= 1
            if unanswered[kind] < 0:
                self.verdict.breaks(f"usage that nobody asked for: {request_id}")
            elif row["charged_nanos"] and request_id not in named and not self._is_credited(row):
                self.verdict.unasked += 1

    def _is_credited(self, row: asyncpg.Record) -> bool:
        """Whether exactly what a request was charged was given back; each is asked for once."""
        owner, nanos = self._credited.pop(str(row["request_id"]), ("", 0))
        if not nanos:
            return False
        self.verdict.credited += 1
        return (owner, nanos) == (str(row["organization_id"]), row["charged_nanos"])

    def _kind(self, request: Request) -> tuple[str, int, int]:
        owner = self._record.customers[request.customer].organization_id
        return owner, request.inputs, request.tokens

    async def _balances(self, connection: asyncpg.Connection, credited: Counter[str]) -> None:
        rows = await connection.fetch(_BALANCES)
        balances = {str(row["id"]): row for row in rows}
        for customer in self._record.customers:
            owner, row = customer.organization_id, balances[customer.organization_id]
            left, granted = row["left_nanos"], row["granted_nanos"]
            if left != granted - self._charged[owner]:
                due = granted - self._charged[owner]
                self.verdict.breaks(f"the balance of {owner} is {left}, not {due}")
            if left < 0:
                self.verdict.breaks(f"{owner} is overdrawn: {left}")
            if granted != customer.credit_nanos + credited[owner]:
                self.verdict.breaks(f"credit of {owner} that nobody granted: {granted}")


def _told(attempt: Attempt) -> str:
    return msgspec.json.encode(attempt).decode()
