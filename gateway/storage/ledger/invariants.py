"""What must be true of the money at every moment: each is SQL that finds the rows that break it.

The tests run them after everything they do; `gateway audit` runs them on a live database. One
transaction sees one moment, so they hold under load too.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_SHOWN_MAX = 20


class Invariant(NamedTuple):
    """A rule, and the query for what breaks it (one column: whose)."""

    name: str
    rule: str
    sql: str


class Breach(NamedTuple):
    """A broken rule, and up to 20 of the organizations or requests that break it."""

    invariant: Invariant
    culprits: list[str]


INVARIANTS = (
    Invariant(
        "balance-equals-ledger",
        "available + reserved is the sum of the account's ledger entries",
        """
        SELECT a.organization_id FROM accounts a
        WHERE a.available_nanos + a.reserved_nanos <> (
            SELECT coalesce(sum(e.amount_nanos), 0) FROM ledger_entries e
            WHERE e.organization_id = a.organization_id)
        """,
    ),
    Invariant(
        "never-negative",
        "no account has less than nothing",
        "SELECT organization_id FROM accounts WHERE available_nanos < 0 OR reserved_nanos < 0",
    ),
    Invariant(
        "reserved-equals-reservations",
        "reserved is the sum of the open reservations",
        """
        SELECT a.organization_id FROM accounts a
        WHERE a.reserved_nanos <> (
            SELECT coalesce(sum(r.cost_nanos), 0) FROM reservations r
            WHERE r.organization_id = a.organization_id)
        """,
    ),
    Invariant(
        "lots-equal-balance",
        "what is left of the lots is available + reserved",
        """
        SELECT a.organization_id FROM accounts a
        WHERE a.available_nanos + a.reserved_nanos <> (
            SELECT coalesce(sum(l.remaining_nanos), 0) FROM credit_lots l
            WHERE l.organization_id = a.organization_id)
        """,
    ),
    Invariant(
        "usage-is-charged-once",
        "each usage row has exactly one ledger entry, of its cost",
        """
        SELECT u.request_id FROM usage_events u
        LEFT JOIN ledger_entries e ON e.kind = 'usage' AND e.ref = u.request_id
        WHERE e.id IS NULL OR e.amount_nanos <> -u.cost_nanos
            OR e.organization_id <> u.organization_id
        """,
    ),
    Invariant(
        "charges-have-usage",
        "each usage entry of the ledger has its usage row",
        """
        SELECT e.ref FROM ledger_entries e
        LEFT JOIN usage_events u ON u.request_id = e.ref
        WHERE e.kind = 'usage' AND u.request_id IS NULL
        """,
    ),
    Invariant(
        "cost-is-tokens-times-price",
        "each usage row costs its tokens at its own price, rounded up",
        """
        SELECT u.request_id FROM usage_events u JOIN model_prices p ON p.id = u.price_id
        WHERE u.cost_nanos <> (u.tokens * p.nanos_per_million_tokens + 999999) / 1000000
        """,
    ),
    Invariant(
        "settled-is-not-reserved",
        "no request is both charged and still reserved",
        """
        SELECT r.request_id FROM reservations r
        JOIN usage_events u ON u.request_id = r.request_id
        """,
    ),
)


async def audit(connection: AsyncConnection) -> list[Breach]:
    """Run every invariant in the connection's transaction and return what is broken."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    breaches = []
    for invariant in INVARIANTS:
        found = await connection.scalars(text(f"{invariant.sql} LIMIT {_SHOWN_MAX}"))
        if culprits := [str(culprit) for culprit in found.all()]:
            breaches.append(Breach(invariant, culprits))
    return breaches
