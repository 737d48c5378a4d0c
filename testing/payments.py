"""A payment without Stripe: its row, and the postings that reconciliation makes of what came."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.ledger import books, payments
from gateway.storage.ledger.books import NANOS_PER_CENT, Transaction
from gateway.storage.tables import payments as rows


@dataclass
class Payment:
    """A payment of some credit with tax; each method does in one transaction what Stripe tells."""

    database: Database
    id: str
    organization_id: str
    cents: int
    tax_cents: int = 0
    transactions: int = 0

    @classmethod
    async def create(
        cls,
        database: Database,
        organization_id: str,
        *,
        cents: int,
        tax_cents: int = 0,
        is_received: bool = False,
    ) -> "Payment":
        now = datetime.now(UTC)
        payment = cls(database, new_id(), organization_id, cents, tax_cents)
        empty: dict[str, Any] = dict.fromkeys(_TEXTS, "") | dict.fromkeys(_NUMBERS, 0)
        if is_received:  # at Stripe, and not posted yet
            empty["received_cents"] = cents + tax_cents
        async with database.write() as connection:
            await connection.execute(
                insert(rows).values(
                    id=payment.id,
                    organization_id=organization_id,
                    origin="checkout",
                    state="open",
                    credit_nanos=cents * NANOS_PER_CENT,
                    amount_cents=cents,
                    tax_cents=tax_cents,
                    live=False,
                    saves_card=False,
                    created_at=now,
                    changed_at=now,
                    **empty,
                )
            )
        return payment

    async def receive(self, *, fee_cents: int = 0) -> None:
        """All of it has come."""
        whole = self.cents + self.tax_cents
        async with self.database.write() as connection:
            await self._set(connection, state="paid", received_cents=whole)
            await self.post_to(connection, self.cents, self.tax_cents)
            await self._transact(connection, whole, fee_cents)

    async def refund(self, cents: int, *, tax_cents: int = 0) -> None:
        """So much of its credit and of its tax went back."""
        async with self.database.write() as connection:
            row = await self._lock(connection)
            nanos = row.posted_nanos - cents * NANOS_PER_CENT
            tax_nanos = row.tax_posted_nanos - tax_cents * NANOS_PER_CENT
            await self.post_nanos(connection, nanos, tax_nanos)
            await self._set(connection, refunded_cents=row.refunded_cents + cents + tax_cents)
            await self._transact(connection, -cents - tax_cents, 0)

    async def post(self, cents: int, tax_cents: int = 0) -> None:
        """Let it have posted so much, whatever it has."""
        async with self.database.write() as connection:
            await self.post_to(connection, cents, tax_cents)

    async def post_to(self, connection: AsyncConnection, cents: int, tax_cents: int = 0) -> None:
        await self.post_nanos(connection, cents * NANOS_PER_CENT, tax_cents * NANOS_PER_CENT)

    async def post_nanos(self, connection: AsyncConnection, nanos: int, tax_nanos: int = 0) -> None:
        row = await self._lock(connection)
        number = row.postings + 1
        await payments.post(
            connection,
            self.organization_id,
            self.id,
            credit_nanos=row.credit_nanos,
            posted_nanos=row.posted_nanos,
            desired_nanos=nanos,
            number=number,
        )
        await books.post_tax(connection, self.id, tax_nanos - row.tax_posted_nanos, number)
        await self._set(connection, posted_nanos=nanos, tax_posted_nanos=tax_nanos, postings=number)

    async def _transact(self, connection: AsyncConnection, gross: int, fee: int) -> None:
        self.transactions += 1
        transaction = Transaction(
            id=f"txn_{self.id}_{self.transactions}",
            type="charge" if gross > 0 else "refund",
            gross_cents=gross,
            fee_cents=fee,
            created_at=datetime.now(UTC),
        )
        assert await books.post_transaction(connection, self.id, transaction)
        assert not await books.post_transaction(connection, self.id, transaction)

    async def _lock(self, connection: AsyncConnection) -> Any:
        query = select(rows).where(rows.c.id == self.id).with_for_update()
        return (await connection.execute(query)).one()

    async def _set(self, connection: AsyncConnection, **values: Any) -> None:
        await connection.execute(update(rows).where(rows.c.id == self.id).values(values))


_TEXTS = [
    column.name
    for column in rows.c
    if not column.nullable
    and column.name.endswith(
        ("url", "code", "reason", "attention", "number", "tax_id", "country", "fingerprint", "seen")
    )
]
_NUMBERS = (
    "received_cents", "refunded_cents", "disputed_cents", "posted_nanos", "tax_posted_nanos",
    "postings", "version", "failures",
)  # fmt: skip
