"""The platform's own accounts: what Stripe holds, its fees, tax, receivables.

An entry adds its amount to an account and takes it from the counterpart. Only Stripe's balance
transactions post to `stripe_clearing`, each once, so that minus `stripe_clearing` is the balance at
Stripe from payments, before payouts. What a payment posts as credit and tax is receivable until its
money arrives; a settled payment's receivable is zero.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import insert_into
from gateway.storage.ledger import postings
from gateway.storage.ledger.seals import Reach
from gateway.storage.tables import (
    audit_sums,
    book_entries,
    ledger_entries,
    stripe_transactions,
    total,
)

NANOS_PER_CENT = 10_000_000


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """A Stripe balance transaction: what came in before Stripe's fee; negative if it went out."""

    id: str
    type: str
    gross_cents: int
    fee_cents: int
    created_at: datetime


async def post_transaction(
    connection: AsyncConnection, payment_id: str, transaction: Transaction
) -> bool:
    """Store and enter a balance transaction once; return whether it was entered now."""
    stored = insert_into(connection, stripe_transactions).values(
        payment_id=payment_id, **msgspec.structs.asdict(transaction)
    )
    added = await connection.scalar(
        stored.on_conflict_do_nothing(index_elements=["id"]).returning(stripe_transactions.c.id)
    )
    if added is None:
        return False
    gross, fee = transaction.gross_cents, transaction.fee_cents
    moves = (
        ("transaction", gross, "receivable", "stripe_clearing"),
        ("fee", fee, "stripe_clearing", "stripe_fees"),
    )
    for kind, cents, account, counterpart in moves:
        await _enter(
            connection,
            payment_id,
            kind,
            transaction.id,
            cents * NANOS_PER_CENT,
            account,
            counterpart,
        )
    return True


async def post_tax(
    connection: AsyncConnection, payment_id: str, delta_nanos: int, number: int
) -> None:
    """Enter tax that a payment brought, or with a negative amount took back."""
    ref = f"{payment_id}:{number}"
    await _enter(connection, payment_id, "tax", ref, delta_nanos, "tax_payable", "receivable")


async def balances(connection: AsyncConnection, sealed: Reach | None = None) -> dict[str, int]:
    """Return the balance of each account of the platform that has entries, in nano-dollars.

    It reads the ledger's entries after the seal, and the seal's sums for the rest.
    """
    entry, line, part = ledger_entries.c, book_entries.c, audit_sums.c
    queries = [
        (-1, select(entry.counterpart, total(entry.amount_nanos)).group_by(entry.counterpart)),
        (1, select(line.account, total(line.amount_nanos)).group_by(line.account)),
        (-1, select(line.counterpart, total(line.amount_nanos)).group_by(line.counterpart)),
    ]
    if sealed is not None:
        queries[0] = (-1, queries[0][1].where(entry.id > sealed.entries))
        is_platform = (part.part == "sealed") & (part.kind == "platform")
        queries.append((1, select(part.id, part.amount).where(is_platform)))
    found: Counter[str] = Counter()
    for sign, query in queries:
        for name, nanos in await connection.execute(query):
            found[name] += sign * nanos
    return dict(found)


async def _enter(
    connection: AsyncConnection,
    payment_id: str,
    kind: str,
    ref: str,
    amount_nanos: int,
    account: str,
    counterpart: str,
) -> None:
    if not amount_nanos:
        return
    await connection.execute(
        insert(book_entries).values(
            payment_id=payment_id,
            kind=kind,
            ref=ref,
            amount_nanos=amount_nanos,
            account=account,
            counterpart=counterpart,
            created_at=await postings.database_now(connection),
        )
    )
